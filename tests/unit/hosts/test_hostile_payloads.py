"""Whatever becomes of a real delivery on its way, only the port's own errors come out."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.events import Event
from server.config import GitHubSettings, GitLabSettings
from server.hosts import reading
from server.hosts.github import GitHubHost
from server.hosts.gitlab import GitLabHost
from server.hosts.port import Host, Irrelevant, PayloadInvalidError
from tests.doubles import samples

HOSTS: dict[str, Host] = {
    "github": GitHubHost("github", GitHubSettings(kind="github")),
    "gitlab": GitLabHost("gitlab", GitLabSettings(kind="gitlab")),
}
CASES = [(kind, case) for kind in HOSTS for case in samples.cases(kind)]
DROP = object()

odd_values = st.one_of(
    st.just(DROP),
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**63, max_value=10**40),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["\ud800", "\0", "-x", "--upload-pack=x", "..", "0" * 40, "a" * 40, "é" * 40]),
    st.lists(st.none() | st.dictionaries(st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def places(node: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path in a JSON value."""
    items: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    found = [(*path, key) for key, _ in items]
    for key, value in items:
        found += places(value, (*path, key))
    return found


def change(whole: dict[str, Any], path: tuple[str | int, ...], value: object) -> None:
    """Put the value at the path, or take what is there; an earlier change may be in the way."""
    body: Any = whole
    for part in path[:-1]:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(body, dict):
        if value is DROP:
            body.pop(path[-1], None)
        else:
            body[path[-1]] = value


def outcome(kind: str, headers: dict[str, str], body: dict[str, Any]) -> Event | Irrelevant | None:
    """What comes out, which must be harmless; None for a refusal."""
    host = HOSTS[kind]
    try:
        host.repository(body)
        found = host.read(headers, body)
    except PayloadInvalidError as error:
        str(error).encode()
        return None
    found.model_dump_json().encode()
    return found


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_every_sample_is_read(kind: str, case: str) -> None:
    assert outcome(kind, samples.lower(kind, case), samples.body(kind, case)) is not None


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_any_one_field_may_be_missing_or_null(kind: str, case: str) -> None:
    headers, body = samples.lower(kind, case), samples.body(kind, case)
    for path in places(body):
        for value in (DROP, None):
            changed = json.loads(json.dumps(body))
            change(changed, path, value)
            outcome(kind, headers, changed)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_fields_may_hold_anything(data: st.DataObject) -> None:
    kind, case = data.draw(st.sampled_from(CASES))
    body = samples.body(kind, case)
    known = places(body)
    chosen = random.Random(data.draw(st.integers(0, 10_000))).sample(known, min(4, len(known)))
    needed = [path for path in known if path[-1] in NEEDED]
    for path in [*chosen, *data.draw(st.lists(st.sampled_from(needed), max_size=3))]:
        change(body, path, data.draw(odd_values))

    found = outcome(kind, samples.lower(kind, case), body)

    if isinstance(found, Event):
        assert reading.is_ref(found.ref)
        assert reading.is_full_name(found.repository)
        assert set(found.sha) <= set("0123456789abcdef")
        assert len(found.sha) >= 40


NEEDED = {
    *("ref", "after", "before", "checkout_sha", "deleted", "repository", "project", "id"),
    *("full_name", "path_with_namespace", "pull_request", "object_attributes", "head", "base"),
    *("sha", "repo", "action", "number", "iid", "last_commit", "source_project_id", "sender"),
    *("head_commit", "commits", "message", "title", "object_kind", "oldrev", "default_branch"),
    *("user", "login", "username", "author", "name", "push_options", "ref_type"),
}


@given(body=st.binary(max_size=300), form=st.booleans())
def test_any_bytes_may_be_the_body(body: bytes, form: bool) -> None:
    content_type = "application/x-www-form-urlencoded" if form else "application/json"
    for host in HOSTS.values():
        try:
            found = host.payload({"content-type": content_type}, body)
        except PayloadInvalidError:
            continue
        assert isinstance(found, dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(body=st.dictionaries(st.sampled_from(sorted(NEEDED)), json_values))
def test_any_object_may_be_the_payload(body: dict[str, Any]) -> None:
    for event in ("push", "pull_request", "create", "delete", "ping"):
        outcome("github", {"x-github-event": event}, body)
    for kind in ("push", "tag_push", "merge_request", "note"):
        outcome("gitlab", {}, {**body, "object_kind": kind})
