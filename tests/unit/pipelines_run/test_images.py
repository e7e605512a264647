from __future__ import annotations

import pytest

from pipelines.images.build import BuildLog
from pipelines.images.dockerfile import base_images, instruction_lines
from pipelines.images.names import registry_of, split
from pipelines.images.pull import tell_progress
from pipelines.images.refusals import explain, read_refusal
from pipelines.registries.logins import Login
from pipelines.registries.refusals import Refusal


def test_bases_are_images_and_not_earlier_stages() -> None:
    text = """\
FROM --platform=linux/amd64 python:3.12 AS Builder
from scratch
FROM builder
FROM ghcr.io/acme/base@sha256:0 as last
"""
    assert base_images(text) == ("python:3.12", "ghcr.io/acme/base@sha256:0")


def test_a_base_with_a_variable_is_left_to_the_builder() -> None:
    assert base_images("ARG V=3\nFROM python:${V}\n") == ()


def test_instructions_are_counted_without_comments_and_continued_lines() -> None:
    text = "# a comment\nFROM x\n\nRUN a && \\\n  # within\n  b\nCOPY . .\n"
    assert instruction_lines(text) == (2, 4, 7)


def test_another_escape_character_is_obeyed() -> None:
    assert instruction_lines("# escape=`\nFROM x\nRUN a `\n b\nRUN c\\\nRUN d\n") == (2, 3, 5, 6)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("busybox", "docker.io"),
        ("acme/web:1", "docker.io"),
        ("ghcr.io/acme/web", "ghcr.io"),
        ("127.0.0.1:5000/web:1", "127.0.0.1:5000"),
        ("localhost/web", "localhost"),
    ],
)
def test_the_registry_of_a_name(name: str, host: str) -> None:
    assert registry_of(name) == host


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("busybox", ("busybox", "latest")),
        ("r:5000/a/b:1", ("r:5000/a/b", "1")),
        ("a@sha256:12", ("a", "sha256:12")),
    ],
)
def test_a_name_without_a_tag_means_latest(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", Refusal.NOT_FOUND),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            Refusal.NOT_FOUND,
        ),
        ("unauthorized: authentication required", Refusal.DENIED),
        ("no basic auth credentials", Refusal.DENIED),
        ("denied: requested access to the resource is denied", Refusal.DENIED),
        ("toomanyrequests: You have reached your pull rate limit.", Refusal.UNAVAILABLE),
        ("received unexpected HTTP status: 503 Service Unavailable", Refusal.UNAVAILABLE),
        (
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            Refusal.UNAVAILABLE,
        ),
        ("dial tcp: lookup x on 127.0.0.53:53: no such host", Refusal.NOWHERE),
        ("net/http: TLS handshake timeout", Refusal.UNAVAILABLE),
        ("x509: certificate signed by unknown authority", Refusal.OTHER),
    ],
)
def test_what_engines_say_of_registries_is_understood(message: str, refusal: Refusal) -> None:
    assert read_refusal(message) is refusal


def test_a_refused_login_names_user_registry_and_setting() -> None:
    login = Login(username="bot", password="secret-pw")
    told = str(explain("push of r.io/a:1", "r.io", login, "unauthorized"))
    assert told == (
        "registry r.io refused the login of bot for the push of r.io/a:1: "
        'check registries."r.io" in config.toml, or `lading registry add r.io`, and what that '
        "user may do there"
    )


def test_only_an_unavailable_registry_is_worth_a_second_try() -> None:
    errors = {m: explain("x", "h", None, m).worth_retrying for m in ("503", "denied", "unknown?")}
    assert errors == {"503": True, "denied": False, "unknown?": False}


def test_a_logins_password_is_in_no_text_of_it() -> None:
    login = Login(username="bot", password="secret-pw")
    assert "secret-pw" not in f"{login} {login!r} { {'r': login} }"


def test_the_builders_stream_is_counted() -> None:
    log = BuildLog()
    texts = [
        log.take(entry)
        for entry in (
            {"stream": "Step 1/2 : FROM x"},
            {"stream": "\n"},
            {"stream": " ---> 0123\n"},
            {"stream": "Step 2/2 : RUN make \\\n  all"},
            {"stream": " ---> Using cache\n"},
            {"aux": {"ID": "sha256:1"}},
            {"status": "Downloading", "id": "layer", "progress": "[=>"},
        )
    ]
    assert (log.step, log.total, log.cached, log.image_id) == (2, 2, 1, "sha256:1")
    assert log.instruction == "RUN make \\\n  all"
    assert texts[-2:] == ["", ""]


def test_each_of_the_engines_own_tries_is_told_once() -> None:
    told: list[str] = []
    counting = ["Retrying in 5 seconds", "Retrying in 4 seconds"]
    entries = [
        {"id": "layer", "status": status}
        for status in ("Pushing", *counting, "Pushing", *counting, "Pushed")
    ]
    assert tell_progress(told.append, [*entries, {"error": "EOF"}], frozenset({"Pushed"})) == [
        "EOF"
    ]
    broken = "layer: broken off. Retrying in 5 seconds"
    assert told == [broken, broken, "layer: Pushed"]
