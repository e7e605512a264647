from __future__ import annotations

import json
from typing import Any

from pipelines.images.exact.comparing import config_differences
from pipelines.images.exact.configuration import Blob, configuration, digest_of, manifest

CREATED = 1_767_323_045  # 2026-01-02T03:04:05Z
DIFF = f"sha256:{'0' * 64}"


def told(**other: object) -> dict[str, Any]:
    """As an engine's classic builder leaves it."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-11-25T15:27:15.123Z",
        "container": "abc",
        "container_config": {"Hostname": "abc", "Cmd": ["/bin/sh", "-c", "#(nop) CMD"]},
        "docker_version": "20.10.24",
        "config": {
            "Hostname": "abc",
            "Image": "sha256:1",
            "Env": ["A=b", "B=c"],
            "Cmd": ["sh"],
            "Entrypoint": None,
            "Volumes": None,
            "Labels": {"own": "1", "title": "theirs"},
            "AttachStdin": False,
            "Healthcheck": {"Test": ["CMD", "true"]},
            "StopSignal": "SIGINT",
        },
        "history": [
            {"created": "2026-11-25T15:27:15Z", "created_by": "COPY"},
            {"created": "2026-11-25T15:27:16Z", "created_by": "CMD", "empty_layer": True},
        ],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:raw"]},
    } | other


def written(**other: object) -> bytes:
    return configuration(told(**other), created=CREATED, labels={"title": "ours"}, diff_ids=[DIFF])


def test_nothing_of_the_container_or_the_hour_is_left() -> None:
    text = written().decode()
    for word in ("abc", "container", "docker_version", "2026-11-25", "AttachStdin", "sha256:1"):
        assert word not in text
    found = json.loads(text)
    at = "2026-01-02T03:04:05Z"
    assert found["created"] == at
    assert [entry["created"] for entry in found["history"]] == [at, at]
    assert found["rootfs"]["diff_ids"] == [DIFF]


def test_what_a_container_is_told_stays() -> None:
    assert json.loads(written())["config"] == {
        "Env": ["A=b", "B=c"],
        "Cmd": ["sh"],
        "Labels": {"own": "1", "title": "ours"},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "StopSignal": "SIGINT",
    }


def test_builds_at_other_times_in_other_containers_give_the_same_bytes() -> None:
    assert written(container="def", created="2027-01-01T00:00:00Z") == written()


def test_a_manifest_names_what_is_there_under_one_digest() -> None:
    layer = Blob(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=DIFF, size=7)
    body = manifest(b"{}", [layer], {"a": "b"})
    found = json.loads(body)
    assert found["config"]["digest"] == digest_of(b"{}")
    assert found["layers"] == [{"mediaType": layer.media_type, "digest": DIFF, "size": 7}]
    assert found["annotations"] == {"a": "b"}


def test_differences_of_configurations_are_told_by_key() -> None:
    other = told()["config"] | {"Env": ["A=c", "B=c"]}
    (found,) = config_differences(written(), written(config=other))
    assert found.path == "configuration: config.Env"
    assert found.what == '["A=b", "B=c"], now ["A=c", "B=c"]'
