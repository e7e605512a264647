"""Plain git as a host."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.events import Event, EventKind
from server.config import GitSettings
from server.hosts import signing
from server.hosts.git import GitHost
from server.hosts.port import (
    CommitStatus,
    HostError,
    HostKind,
    Irrelevant,
    Payload,
    PayloadInvalidError,
    RepositoryRef,
    SignatureInvalidError,
    StatusState,
)

SECRET = "whsec_" + "QUJD" * 11
OTHER = "whsec_" + "WFla" * 11
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD, NEW, ZERO = "a" * 40, "b" * 40, "0" * 40
BODY = b'{"repository": "acme/web"}'


def host(url: str = "/srv/git", **more: object) -> GitHost:
    values = {"kind": "git", "url": url, "webhook_secret": SECRET, **more}
    return GitHost("ours", GitSettings.model_validate(values))


def payload(**changed: object) -> Payload:
    values = {
        "type": "push",
        "repository": "acme/web",
        "default_branch": "main",
        "ref": "refs/heads/dev",
        "before": OLD,
        "after": NEW,
        "message": "Ship it\n\nnow",
        "title": "Ship it",
        "author": "Ada",
        "pusher": "git",
    }
    return {**values, **changed}


def read(**changed: object) -> Event | Irrelevant:
    return host().read({}, payload(**changed))


def test_a_delivery_signed_with_the_hosts_secret_is_for_any_repository() -> None:
    headers = signing.sign(signing.key(SECRET), "msg_1", NOW, BODY)

    found = host().verify(headers, BODY, NOW)

    assert (found.delivery_id, found.repository) == ("msg_1", None)


def test_a_delivery_signed_with_a_repositorys_secret_is_for_that_one() -> None:
    headers = signing.sign(signing.key(OTHER), "msg_1", NOW, BODY)
    tables = {"acme/web": {"webhook_secret": OTHER}}

    assert host(repositories=tables).verify(headers, BODY, NOW).repository == "acme/web"


@pytest.mark.parametrize(
    ("secret", "body", "now"),
    [
        (OTHER, BODY, NOW),
        (SECRET, BODY + b" ", NOW),
        (SECRET, BODY, NOW + timedelta(minutes=6)),
    ],
)
def test_a_delivery_that_is_not_ours_is_refused(secret: str, body: bytes, now: datetime) -> None:
    headers = signing.sign(signing.key(secret), "msg_1", NOW, BODY)

    with pytest.raises(SignatureInvalidError):
        host().verify(headers, body, now)


def test_a_host_without_a_secret_takes_nothing() -> None:
    headers = signing.sign(signing.key(SECRET), "msg_1", NOW, BODY)

    with pytest.raises(SignatureInvalidError):
        host(webhook_secret=None).verify(headers, BODY, NOW)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadInvalidError):
        host().payload({}, body)


def test_a_push_to_a_branch_is_a_push() -> None:
    assert read() == Event(
        kind=EventKind.PUSH,
        repository="acme/web",
        sha=NEW,
        ref="refs/heads/dev",
        before=OLD,
        branch="dev",
        default_branch="main",
        title="Ship it",
        message="Ship it\n\nnow",
        author="Ada",
        actor="git",
    )


def test_a_new_branch_has_no_commit_before() -> None:
    event = read(before=ZERO)

    assert isinstance(event, Event)
    assert event.before is None


def test_a_tag_is_a_tag_of_the_commit_it_points_at() -> None:
    event = read(ref="refs/tags/v1/rc", before=ZERO, commit=OLD)

    assert isinstance(event, Event)
    assert (event.kind, event.tag, event.branch, event.sha) == (EventKind.TAG, "v1/rc", None, OLD)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"after": ZERO}, "the branch dev was deleted: there is nothing to build"),
        (
            {"after": ZERO, "ref": "refs/tags/v1"},
            "the tag v1 was deleted: there is nothing to build",
        ),
        ({"ref": "refs/notes/commits"}, "refs/notes/commits is neither a branch nor a tag"),
        ({"ref": "refs/tags/odd", "commit": None}, "the tag odd does not point at a commit"),
    ],
)
def test_what_is_nothing_to_build_is_told_why(changed: dict[str, Any], reason: str) -> None:
    found = read(**changed)

    assert found == Irrelevant(reason=reason, ref=changed.get("ref", "refs/heads/dev"))


@pytest.mark.parametrize("field", ["repository", "ref", "before", "after"])
@pytest.mark.parametrize("value", [None, 7, "", "x\n", [], "--upload-pack=x"])
def test_a_field_that_the_event_needs_is_checked(field: str, value: object) -> None:
    with pytest.raises(PayloadInvalidError):
        read(**{field: value})


@pytest.mark.parametrize("field", ["title", "message", "author", "pusher", "default_branch"])
def test_a_field_for_display_may_be_odd(field: str) -> None:
    assert isinstance(read(**{field: {"no": "text"}}), Event)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([OLD, ZERO, "refs/a"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(payload())), json_values))
def test_whatever_the_payload_only_the_ports_errors_are_raised(changed: dict[str, Any]) -> None:
    body = json.dumps(payload(**changed)).encode()
    try:
        found = host().read({}, host().payload({}, body))
    except PayloadInvalidError:
        return
    assert isinstance(found, Event | Irrelevant)


@pytest.mark.parametrize(
    "name",
    ["..", "a/../b", "../x", "/etc", "-x", "a/-x", "a//b", "a/", "", "a\0b", "a b", "a..b", ".git",
     "a\n", "x" * 256, "ext::sh", "a;b", "~ada/web"],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(PayloadInvalidError):
        host().repository({"repository": name})
    with pytest.raises(PayloadInvalidError):
        host().remote(RepositoryRef(external_id=name, full_name=name))


@pytest.mark.parametrize("name", ["web", "acme/web", "acme/team/web-2.0_x", "été"])
def test_an_ordinary_name_is_taken(name: str) -> None:
    found = host().repository({"repository": name})

    assert found == RepositoryRef(external_id=name, full_name=name)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://git.test/srv/", "https://git.test/srv/acme/web.git"),
        ("ssh://git@git.test:2222/srv", "ssh://git@git.test:2222/srv/acme/web.git"),
        ("git@git.test:", "git@git.test:acme/web.git"),
        ("git@git.test:srv", "git@git.test:srv/acme/web.git"),
    ],
)
def test_a_repository_is_fetched_from_the_configured_address(url: str, expected: str) -> None:
    found = host(url).remote(RepositoryRef(external_id="acme/web", full_name="acme/web"))

    assert (found.url, found.protocols, found.env) == (expected, "https:ssh:http", {})


@pytest.mark.parametrize("name", ["web.git", "web"])
def test_a_repository_in_a_folder_is_found_with_and_without_the_ending(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()

    found = host(str(tmp_path)).remote(RepositoryRef(external_id="web", full_name="web"))

    assert (found.url, found.protocols) == (str(tmp_path.resolve() / name), "file")


def test_a_link_out_of_the_folder_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "private.git").mkdir()
    (tmp_path / "srv" / "web.git").symlink_to(tmp_path / "private.git")

    with pytest.raises(HostError, match="leads out of") as seen:
        host(str(tmp_path / "srv")).remote(RepositoryRef(external_id="web", full_name="web"))

    assert seen.value.permanent


def test_a_status_is_taken_and_forgotten() -> None:
    status = CommitStatus(
        repository=RepositoryRef(external_id="web", full_name="web"),
        sha=NEW,
        context="lading/web",
        state=StatusState.SUCCESS,
        description="passed",
        target_url="http://lading.test/runs/1",
    )

    asyncio.run(host().post_status(status))

    assert host().kind is HostKind.GIT


def test_the_check_sees_a_folder(tmp_path: Path) -> None:
    assert asyncio.run(host(str(tmp_path)).check()).ok


def test_the_check_sees_an_address_that_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        assert asyncio.run(host(url).check()).ok


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("/no/such/folder", {}, "is not there"),
        ("/", {"webhook_secret": None}, "no signing secret"),
        ("http://127.0.0.1:9", {}, "cannot be reached"),
        ("gopher://127.0.0.1", {}, "no kind of address"),
        ("http://127.0.0.1:port", {}, "no kind of address"),
    ],
)
def test_the_check_tells_what_is_wrong_and_the_fix(
    url: str, more: dict[str, Any], said: str
) -> None:
    found = asyncio.run(host(url, **more).check())

    assert not found.ok
    assert said in found.message
    assert found.fix
