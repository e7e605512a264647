from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest

from pipelines.events import Event, EventKind
from server.config import GitHubSettings
from server.hosts.github import GitHubHost
from server.hosts.port import Irrelevant, PayloadInvalidError, RepositoryRef
from tests.doubles import samples

HOST = GitHubHost("github", GitHubSettings(kind="github"))
HEAD = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
PULL_HEAD = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
BASE = "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"


def read(case: str, **changes: object) -> Event | Irrelevant:
    return HOST.read(samples.lower("github", case), {**samples.body("github", case), **changes})


def event(case: str, **changes: object) -> Event:
    found = read(case, **changes)
    assert isinstance(found, Event)
    return found


def reason(case: str, **changes: object) -> str:
    found = read(case, **changes)
    assert isinstance(found, Irrelevant)
    return found.reason


def pull(case: str, **changes: object) -> dict[str, Any]:
    body: dict[str, Any] = samples.body("github", case)["pull_request"]
    for name, value in changes.items():
        target, path = body, name.split("__")
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
    return {"pull_request": body}


def test_a_push_to_a_branch_is_read() -> None:
    assert event("push") == Event(
        kind=EventKind.PUSH,
        repository="Codertocat/Hello-World",
        sha=HEAD,
        ref="refs/heads/master",
        before="95790bf891e76fee5e1747ab589903a6a1f80f22",
        branch="master",
        default_branch="master",
        title="Initial commit",
        message="Initial commit",
        author="Codertocat",
        actor="Codertocat",
        actor_id="21031067",
        url=f"https://github.com/Codertocat/Hello-World/commit/{HEAD}",
    )


def test_a_new_branch_has_nothing_before() -> None:
    assert event("push_new_branch").before is None


def test_a_push_without_commits_is_read() -> None:
    found = event("push", commits=[], head_commit=None)

    assert (found.sha, found.message) == (HEAD, "")


def test_a_tag_is_read() -> None:
    found = event("push_tag")

    assert (found.kind, found.tag, found.branch) == (EventKind.TAG, "simple-tag", None)
    assert (found.ref, found.sha) == ("refs/tags/simple-tag", HEAD)


def test_an_annotated_tag_is_built_at_its_commit_and_not_at_the_tag_object() -> None:
    assert event("push_tag", after="a" * 40).sha == HEAD


@pytest.mark.parametrize("case", ["push_tag_deleted", "push_branch_deleted", "delete_tag"])
def test_what_was_deleted_is_not_built(case: str) -> None:
    assert "deleted: nothing to build" in reason(case)


def test_a_created_tag_is_left_to_its_push() -> None:
    assert reason("create_tag") == (
        "tag simple-tag was created: the push that comes with it counts"
    )


def test_a_merge_queues_branch_is_not_built() -> None:
    assert "merge queue" in reason("push", ref="refs/heads/gh-readonly-queue/main/pr-7-abc")


def test_a_push_to_neither_branch_nor_tag_is_not_built() -> None:
    assert "neither a branch nor a tag" in reason("push", ref="refs/notes/commits")


def test_a_pull_request_is_read() -> None:
    assert event("pull_request_opened") == Event(
        kind=EventKind.PULL_REQUEST,
        repository="Codertocat/Hello-World",
        sha=PULL_HEAD,
        ref="refs/pull/2/head",
        before=BASE,
        branch="master",
        pull_request=2,
        source_branch="changes",
        default_branch="master",
        title="Update the README with new information.",
        author="Codertocat",
        actor="Codertocat",
        actor_id="21031067",
        author_id="21031067",
        url="https://github.com/Codertocat/Hello-World/pull/2",
    )


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review"])
def test_actions_that_bring_commits_to_look_at_are_built(action: str) -> None:
    assert event(f"pull_request_{action}").kind is EventKind.PULL_REQUEST


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("closed", "pull request #2 was closed: nothing to build"),
        ("labeled", "pull request #2 got the action `labeled`: nothing to build"),
        ("converted_to_draft", "got the action `converted_to_draft`"),
    ],
)
def test_other_actions_are_not_built(action: str, says: str) -> None:
    assert says in reason(f"pull_request_{action}")


@pytest.mark.parametrize("case", ["pull_request_from_fork", "pull_request_fork_deleted"])
def test_a_pull_request_from_a_fork_is_known_as_one(case: str) -> None:
    assert event(case).from_fork


def test_a_fork_is_told_by_its_id_and_by_nothing_else() -> None:
    lies = {
        "head__repo__fork": False,
        "head__repo__full_name": "Codertocat/Hello-World",
        "head__label": "Codertocat:changes",
        "head__sha": HEAD,
        "author_association": "OWNER",
    }

    assert event("pull_request_from_fork", **pull("pull_request_from_fork", **lies)).from_fork


@pytest.mark.parametrize("ref", [HEAD, HEAD[:7], "0" * 40])
def test_a_head_that_is_a_commits_id_and_no_branch_is_a_strangers(ref: str) -> None:
    changes = pull("pull_request_opened", head__ref=ref, head__sha=HEAD)

    assert event("pull_request_opened", **changes).from_fork


def test_the_person_is_who_opened_it_by_id_whatever_the_commit_says() -> None:
    changes = pull("pull_request_opened", user__id=77, user__login="ada")
    found = event("pull_request_opened", **changes, sender={"id": 78, "login": "bob"})

    assert (found.author_id, found.actor_id) == ("77", "78")


def test_a_base_in_another_repository_than_the_deliverys_is_refused() -> None:
    with pytest.raises(PayloadInvalidError, match="another repository"):
        read("pull_request_opened", **pull("pull_request_opened", base__repo__id=7))


@pytest.mark.parametrize("case", ["ping", "ping_organization"])
def test_a_ping_says_that_the_webhook_works(case: str) -> None:
    assert "the webhook works" in reason(case)


def test_an_organizations_ping_speaks_of_no_repository() -> None:
    assert HOST.repository(samples.body("github", "ping_organization")) is None


def test_the_repository_is_told() -> None:
    assert HOST.repository(samples.body("github", "push")) == RepositoryRef(
        external_id="186853002", full_name="Codertocat/Hello-World", default_branch="master"
    )


def test_an_unknown_event_is_told_by_name() -> None:
    found = HOST.read({"x-github-event": "star"}, {"action": "created"})

    assert found == Irrelevant(reason="GitHub's event `star` starts nothing here")


@pytest.mark.parametrize("claimed", ["release", "pull_request", "ping", "create"])
def test_a_body_replayed_under_another_events_name_is_refused(claimed: str) -> None:
    with pytest.raises(PayloadInvalidError, match=f"says `{claimed}`, but the body is a `push`"):
        HOST.read({"x-github-event": claimed}, samples.body("github", "push"))


def test_another_events_body_under_the_name_push_is_refused() -> None:
    with pytest.raises(PayloadInvalidError):
        HOST.read({"x-github-event": "push"}, samples.body("github", "ping"))


@pytest.mark.parametrize("claimed", [None, "", "a b", "x" * 100, "é"])
def test_an_odd_event_header_is_refused(claimed: str | None) -> None:
    headers = {} if claimed is None else {"x-github-event": claimed}

    with pytest.raises(PayloadInvalidError):
        HOST.read(headers, samples.body("github", "push"))


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("after", "--upload-pack=touch pwned"),
        ("after", HEAD[:12]),
        ("before", "-x"),
        ("ref", "refs/heads/--upload-pack=touch pwned"),
        ("ref", "refs/heads/-x"),
        ("ref", "refs/heads/a\n"),
        ("repository", None),
        ("repository", {"id": 7, "full_name": "../../etc"}),
        ("repository", {"id": True, "full_name": "acme/web"}),
    ],
)
def test_a_field_that_could_harm_git_is_refused(field: str, odd: object) -> None:
    with pytest.raises(PayloadInvalidError):
        read("push", **{field: odd})


def test_addresses_come_from_the_configuration_and_never_from_the_payload() -> None:
    body = json.dumps(samples.body("github", "push")).replace("https://github.com", "https://evil")

    found = HOST.read(samples.lower("github", "push"), json.loads(body))

    assert "evil" not in repr(found)


def test_a_form_is_read_like_json() -> None:
    body = samples.body("github", "push")
    form = urllib.parse.urlencode({"payload": json.dumps(body)}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}

    assert HOST.payload(headers, form) == body


@pytest.mark.parametrize(
    "form",
    [b"", b"payload", b"payload=", b"payload=1&payload=2", b"x={}", b"payload=\xff", b"&" * 99],
)
def test_a_form_without_one_payload_is_told_as_such(form: bytes) -> None:
    with pytest.raises(PayloadInvalidError):
        HOST.payload({"content-type": "application/x-www-form-urlencoded"}, form)
