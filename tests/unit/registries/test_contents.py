"""What a manifest says an image is made of."""

from __future__ import annotations

import json

import pytest

from pipelines.registries.contents import Part, PartKind, UnreadableError, read_parts

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def written(**told: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **told}).encode()


def descriptor(digest: str, size: int = 3, **more: object) -> dict[str, object]:
    return {"digest": digest, "size": size, "mediaType": "x", **more}


def test_a_manifest_names_its_configuration_and_each_layer_once() -> None:
    body = written(config=descriptor(A), layers=[descriptor(B, 5), descriptor(B, 5), descriptor(C)])

    assert {(part.kind, part.digest, part.size) for part in read_parts(body)} == {
        (PartKind.CONFIG, A, 3),
        (PartKind.LAYER, B, 5),
        (PartKind.LAYER, C, 3),
    }


def test_an_index_names_manifests() -> None:
    assert read_parts(written(manifests=[descriptor(A)])) == (
        Part(kind=PartKind.MANIFEST, digest=A, size=3),
    )


def test_layers_that_lie_elsewhere_are_no_part() -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    body = written(config=descriptor(A), layers=[descriptor(B, mediaType=foreign)])

    assert [part.digest for part in read_parts(body)] == [A]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        written(layers="x"),
        written(layers=[descriptor("../../etc")]),
        written(layers=[descriptor("sha256:../" + "a" * 61)]),
        written(layers=["x"]),
        written(config={"digest": A, "size": "3"}),
        written(config={"digest": A, "size": -1}),
        written(layers=[descriptor(f"sha256:{n:064x}") for n in range(2001)]),
    ],
)
def test_what_is_no_manifest_is_told_so(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_parts(body)
