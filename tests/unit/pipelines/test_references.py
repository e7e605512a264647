from __future__ import annotations

import time

import pytest

from pipelines import references


@pytest.mark.parametrize(
    "name",
    [
        "python",
        "python:3.12-slim",
        "acme/web",
        "ghcr.io/acme/web",
        "localhost/web:1",
        "127.0.0.1:5000/a/b__c:x",
        "registry:5000/web",
        "[::1]:5000/web",
        "alpine@sha256:" + "a" * 64,
        "alpine:3@sha256:" + "a" * 64,
    ],
)
def test_an_image_name_is_accepted(name: str) -> None:
    assert references.is_image(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Python",
        "a b",
        "-v",
        "--privileged",
        "a//b",
        "a:",
        "a:-x",
        "../a",
        "a@sha256:1",
        "a\n",
        "é",
    ],
)
def test_what_is_no_image_name_is_refused(name: str) -> None:
    assert not references.is_image(name)


@pytest.mark.parametrize("name", ["ghcr.io/acme/web", "localhost:5000/web", "r.example.org/a/b/c"])
def test_a_repository_has_a_registry_and_a_path(name: str) -> None:
    assert references.is_repository(name)


@pytest.mark.parametrize(
    "name", ["web", "acme/web", "ghcr.io", "ghcr.io/a:1", "ghcr.io/A", "a.b/" + "x" * 300]
)
def test_what_lacks_either_is_no_repository(name: str) -> None:
    assert not references.is_repository(name)


def test_a_repository_with_a_tag_is_told_apart() -> None:
    assert references.is_tagged_repository("ghcr.io/acme/web:1")
    assert not references.is_tagged_repository("ghcr.io/acme/web")


@pytest.mark.parametrize(
    ("tag", "good"),
    [("1.2.3", True), ("_x", True), ("-x", False), ("", False), ("a" * 129, False), ("a+b", False)],
)
def test_a_tag_follows_the_grammar_of_oci(tag: str, good: bool) -> None:
    assert references.is_tag(tag) is good


def test_no_name_takes_long() -> None:
    start = time.process_time()
    for name in ("a" * 100_000, "a_" * 300, "a-" * 300 + "!", "a." * 300 + "/", "1.1." * 150 + ":"):
        references.is_image(name)
        references.is_repository(name)
        references.is_tagged_repository(name)
    assert time.process_time() - start < 0.1
