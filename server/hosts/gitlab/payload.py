"""A GitLab payload read into an event.

https://docs.gitlab.com/user/project/integrations/webhook_events/. The header `X-Gitlab-Event` is
outside the signature: the body's own `object_kind` decides.
"""

from __future__ import annotations

from typing import Any

from pipelines.events import Event, EventKind
from server.hosts import reading
from server.hosts.port import Irrelevant, Payload, PayloadInvalidError, RepositoryRef

PUBLIC = 20
"""The visibility level of a project that anyone may see (0 private, 10 internal)."""


def repository(payload: Payload) -> RepositoryRef | None:
    """The project a payload speaks of; None where it names none.

    Raises:
        PayloadInvalidError: It names one, but not in a usable way.
    """
    if payload.get("project") is None:
        return None
    return RepositoryRef(
        external_id=str(reading.number(payload, "project", "id")),
        full_name=reading.full_name(payload, "project", "path_with_namespace"),
        default_branch=reading.maybe_ref(payload, "project", "default_branch"),
        private=reading.value(payload, "project", "visibility_level") != PUBLIC,
    )


def read(payload: Payload, url: str) -> Event | Irrelevant:
    """What happened.

    Args:
        payload: The body's object.
        url: The instance's address; links are made from it, never from the payload.

    Raises:
        PayloadInvalidError: A field that the event needs is missing or odd.
    """
    if "object_kind" not in payload and "event_name" in payload:
        name = reading.word(payload, "event_name")
        return Irrelevant(reason=f"GitLab's system event `{name}` starts nothing here")
    kind = reading.word(payload, "object_kind")
    match kind:
        case "push" | "tag_push":
            return _push(payload, url)
        case "merge_request":
            return _merge_request(payload, url)
        case _:
            return Irrelevant(reason=f"GitLab's event `{kind}` starts nothing here")


def _push(payload: Payload, url: str) -> Event | Irrelevant:
    ref = reading.ref(payload, "ref")
    branch, tag = reading.split_ref(ref)
    after = reading.maybe_sha(payload, "after")
    if branch is None and tag is None:
        return Irrelevant(reason=f"{ref} is neither a branch nor a tag", ref=ref)
    # An annotated tag's `after` is the tag object; the commit it names is what is checked out.
    sha = reading.maybe_sha(payload, "checkout_sha")
    if after is None or sha is None:
        return Irrelevant(reason=f"{ref} was deleted: nothing to build", ref=ref)
    if _skipped(payload):
        return Irrelevant(reason="the push carried `-o ci.skip`", ref=ref, sha=sha)
    found = _needed_repository(payload)
    commit = _commit(payload, sha)
    message = reading.prose(commit, "message", limit=reading.MAX_PROSE)
    return Event(
        kind=EventKind.TAG if tag else EventKind.PUSH,
        repository=found.full_name,
        sha=sha,
        ref=ref,
        before=reading.maybe_sha(payload, "before"),
        branch=branch,
        tag=tag,
        default_branch=found.default_branch,
        title=reading.first_line(message),
        message=message,
        author=reading.prose(commit, "author", "name"),
        actor=reading.prose(payload, "user_username") or reading.prose(payload, "user_name"),
        actor_id=_id_text(payload, "user_id"),
        url=f"{url}/{found.full_name}/-/commit/{sha}",
    )


def pushed(
    repository: RepositoryRef, url: str, *, ref: str, before: str | None, sha: str
) -> Event | Irrelevant:
    """What a webhook would have told of a branch or tag that points at this commit now."""
    branch, tag = reading.split_ref(ref)
    return Event(
        kind=EventKind.TAG if tag else EventKind.PUSH,
        repository=repository.full_name,
        sha=sha,
        ref=ref,
        before=before,
        branch=branch,
        tag=tag,
        default_branch=repository.default_branch,
        url=f"{url}/{repository.full_name}/-/commit/{sha}",
    )


def _skipped(payload: Payload) -> bool:
    """Whether `git push -o ci.skip` was given: `{"ci": {"skip": true}}`, or any value of skip."""
    return reading.value(payload, "push_options", "ci", "skip") not in (None, False)


def _commit(payload: Payload, sha: str) -> dict[str, Any]:
    """The pushed commit among the newest twenty that GitLab tells; empty for a moved branch."""
    found = [row for row in reading.rows(payload, "commits") if row.get("id") == sha]
    return dict(found[-1]) if found else {}


def _merge_request(payload: Payload, url: str) -> Event | Irrelevant:
    number = reading.number(payload, "object_attributes", "iid")
    ref = f"refs/merge-requests/{number}/head"
    reason = _why_not(payload)
    if reason is not None:
        return Irrelevant(reason=f"merge request !{number} {reason}: nothing to build", ref=ref)
    found = _needed_repository(payload)
    target = reading.number(payload, "object_attributes", "target_project_id")
    if str(target) != found.external_id:
        raise PayloadInvalidError("the merge request's target is another project than the body's")
    message = reading.prose(
        payload, "object_attributes", "last_commit", "message", limit=reading.MAX_PROSE
    )
    sha = reading.sha(payload, "object_attributes", "last_commit", "id")
    source = reading.ref(payload, "object_attributes", "source_branch")
    return Event(
        kind=EventKind.PULL_REQUEST,
        repository=found.full_name,
        sha=sha,
        ref=ref,
        branch=reading.ref(payload, "object_attributes", "target_branch"),
        pull_request=number,
        source_branch=source,
        from_fork=_source_project(payload) != target or reading.names_commit(source, sha),
        default_branch=found.default_branch,
        title=reading.first_line(reading.prose(payload, "object_attributes", "title")),
        message=message,
        author=reading.prose(payload, "object_attributes", "last_commit", "author", "name"),
        actor=reading.prose(payload, "user", "username"),
        actor_id=_id_text(payload, "user", "id"),
        author_id=_id_text(payload, "object_attributes", "author_id"),
        url=f"{url}/{found.full_name}/-/merge_requests/{number}",
    )


def _why_not(payload: Payload) -> str | None:
    """Why the action builds nothing; None for those that bring commits to look at."""
    if reading.value(payload, "object_attributes", "action") is None:
        return "came without an action"
    action = reading.word(payload, "object_attributes", "action")
    if action in ("open", "reopen"):
        return None
    if action == "update":
        brought = reading.maybe_sha(payload, "object_attributes", "oldrev")
        return None if brought else "got no new commits"
    return f"got the action `{action}`"


def _source_project(payload: Payload) -> int | None:
    """The id of the project the commits come from; None, so never the target's, if it is gone."""
    if reading.value(payload, "object_attributes", "source_project_id") is None:
        return None
    return reading.number(payload, "object_attributes", "source_project_id")


def _needed_repository(payload: Payload) -> RepositoryRef:
    found = repository(payload)
    if found is None:
        raise reading.refuse("object", "project")
    return found


def _id_text(payload: Payload, *path: str) -> str | None:
    found = reading.maybe_number(payload, *path)
    return None if found is None else str(found)
