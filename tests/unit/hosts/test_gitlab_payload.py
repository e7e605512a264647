from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.events import Event, EventKind
from server.config import GitLabSettings
from server.hosts.gitlab import GitLabHost
from server.hosts.port import Irrelevant, PayloadInvalidError, RepositoryRef
from tests.doubles import samples

HOST = GitLabHost("gitlab", GitLabSettings(kind="gitlab", url="https://gitlab.acme.org/"))
HEAD = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
BEFORE = "95790bf891e76fee5e1747ab589903a6a1f80f22"


def read(case: str, **changes: object) -> Event | Irrelevant:
    return HOST.read(samples.lower("gitlab", case), {**samples.body("gitlab", case), **changes})


def event(case: str, **changes: object) -> Event:
    found = read(case, **changes)
    assert isinstance(found, Event)
    return found


def reason(case: str, **changes: object) -> str:
    found = read(case, **changes)
    assert isinstance(found, Irrelevant)
    return found.reason


def request(case: str, **changes: object) -> dict[str, Any]:
    return {"object_attributes": {**samples.body("gitlab", case)["object_attributes"], **changes}}


def test_a_push_to_a_branch_is_read() -> None:
    assert event("push") == Event(
        kind=EventKind.PUSH,
        repository="mike/diaspora",
        sha=HEAD,
        ref="refs/heads/master",
        before=BEFORE,
        branch="master",
        default_branch="master",
        title="fixed readme",
        message="fixed readme",
        author="GitLab dev user",
        actor="jsmith",
        actor_id="4",
        url=f"https://gitlab.acme.org/mike/diaspora/-/commit/{HEAD}",
    )


def test_a_new_branch_without_commits_is_read() -> None:
    found = event("push_new_branch")

    assert (found.branch, found.before, found.title) == ("feature/readme", None, "")


def test_a_tag_is_built_at_its_commit_and_not_at_the_tag_object() -> None:
    found = event("tag_push")

    assert (found.kind, found.tag, found.branch) == (EventKind.TAG, "v1.0.0", None)
    assert found.sha == HEAD


@pytest.mark.parametrize("case", ["push_branch_deleted", "tag_push_deleted"])
def test_what_was_deleted_is_not_built(case: str) -> None:
    assert "deleted: nothing to build" in reason(case)


def test_a_push_that_asks_to_be_skipped_is_not_built() -> None:
    assert "ci.skip" in reason("push_skipped")


def test_a_merge_request_is_read() -> None:
    assert event("merge_request_open") == Event(
        kind=EventKind.PULL_REQUEST,
        repository="mike/diaspora",
        sha=HEAD,
        ref="refs/merge-requests/7/head",
        branch="master",
        pull_request=7,
        source_branch="ms-viewport",
        default_branch="master",
        title="MS-Viewport",
        message="fixed readme",
        author="GitLab dev user",
        actor="root",
        actor_id="1",
        author_id="51",
        url="https://gitlab.acme.org/mike/diaspora/-/merge_requests/7",
    )


@pytest.mark.parametrize("case", ["open", "reopen", "update"])
def test_actions_that_bring_commits_to_look_at_are_built(case: str) -> None:
    assert event(f"merge_request_{case}").sha == HEAD


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("update_title", "merge request !7 got no new commits: nothing to build"),
        ("close", "got the action `close`"),
        ("merge", "got the action `merge`"),
    ],
)
def test_other_actions_are_not_built(case: str, says: str) -> None:
    assert says in reason(f"merge_request_{case}")


def test_a_merge_request_from_a_fork_is_known_as_one() -> None:
    assert event("merge_request_from_fork").from_fork


def test_a_fork_is_told_by_its_id_and_by_nothing_else() -> None:
    changes = request("merge_request_from_fork")
    changes["object_attributes"]["source"] = changes["object_attributes"]["target"]
    changes["object_attributes"]["last_commit"]["author"] = {"name": "Administrator"}

    assert event("merge_request_from_fork", **changes).from_fork


def test_a_source_that_is_a_commits_id_and_no_branch_is_a_strangers() -> None:
    sha = event("merge_request_open").sha

    for name in (sha, sha[:9]):
        changes = request("merge_request_open", source_branch=name)
        assert event("merge_request_open", **changes).from_fork


def test_the_person_is_who_opened_it_by_id() -> None:
    found = event("merge_request_open", **request("merge_request_open", author_id=77))

    assert (found.author_id, found.actor_id) == ("77", "1")


def test_a_deleted_fork_is_still_a_strangers() -> None:
    changes = request("merge_request_from_fork", source_project_id=None)

    assert event("merge_request_from_fork", **changes).from_fork


def test_a_target_in_another_project_than_the_deliverys_is_refused() -> None:
    with pytest.raises(PayloadInvalidError, match="another project"):
        read("merge_request_open", **request("merge_request_open", target_project_id=16))


def test_the_body_decides_and_not_the_header() -> None:
    found = HOST.read({"x-gitlab-event": "Push Hook"}, samples.body("gitlab", "note"))

    assert found == Irrelevant(reason="GitLab's event `note` starts nothing here")


def test_a_system_hooks_event_is_told_by_name() -> None:
    assert HOST.read({}, {"event_name": "project_create"}) == Irrelevant(
        reason="GitLab's system event `project_create` starts nothing here"
    )


def test_the_project_is_told() -> None:
    assert HOST.repository(samples.body("gitlab", "push")) == RepositoryRef(
        external_id="15", full_name="mike/diaspora", default_branch="master", private=True
    )


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("object_kind", None),
        ("after", "--upload-pack=touch pwned"),
        ("checkout_sha", HEAD[:12]),
        ("ref", "refs/heads/-x"),
        ("ref", "master"),
        ("project", None),
        ("project", {"id": 15, "path_with_namespace": "../../etc"}),
    ],
)
def test_a_field_that_could_harm_git_is_refused_or_not_built(field: str, odd: object) -> None:
    try:
        found = read("push", **{field: odd})
    except PayloadInvalidError:
        return
    assert isinstance(found, Irrelevant)


def test_addresses_come_from_the_configuration_and_never_from_the_payload() -> None:
    body = json.dumps(samples.body("gitlab", "push")).replace("gitlab.example.com", "evil")

    assert "evil" not in repr(HOST.read({}, json.loads(body)))
