"""A GitHub payload read into an event.

https://docs.github.com/en/webhooks/webhook-events-and-payloads. The header `X-GitHub-Event` is
outside the signature, so whoever replays a body can change it: it only has to agree with what the
body is.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from pipelines.events import Event, EventKind
from server.hosts import reading
from server.hosts.port import Irrelevant, Payload, PayloadInvalidError, RepositoryRef

EVENT_HEADER = "x-github-event"
FORM = "application/x-www-form-urlencoded"
MERGE_QUEUE = "gh-readonly-queue/"
BUILT_ACTIONS = frozenset({"opened", "synchronize", "reopened", "ready_for_review"})


def parse(headers: Mapping[str, str], body: bytes) -> Payload:
    """The body's JSON object, whichever of GitHub's two content types it came in.

    Raises:
        PayloadInvalidError: There is none.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return reading.json_object(_form_field(body) if content_type == FORM else body)


def _form_field(body: bytes) -> bytes:
    try:
        fields = urllib.parse.parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        raise PayloadInvalidError("the body is not a form as GitHub sends it") from None
    values = fields.get("payload", [])
    if len(values) != 1:
        raise PayloadInvalidError("the form must have exactly one field `payload`")
    return values[0].encode("utf-8", "replace")


def repository(payload: Payload) -> RepositoryRef | None:
    """The repository a payload speaks of; None where it names none.

    Raises:
        PayloadInvalidError: It names one, but not in a usable way.
    """
    if payload.get("repository") is None:
        return None
    return RepositoryRef(
        external_id=str(reading.number(payload, "repository", "id")),
        full_name=reading.full_name(payload, "repository", "full_name"),
        default_branch=reading.maybe_ref(payload, "repository", "default_branch"),
        private=reading.value(payload, "repository", "private") is True,
    )


def read(headers: Mapping[str, str], payload: Payload, url: str) -> Event | Irrelevant:
    """What happened.

    Args:
        headers: Names in lower case.
        payload: From :func:`parse`.
        url: The host's address for people; links are made from it, never from the payload.

    Raises:
        PayloadInvalidError: A field that the event needs is missing or odd, or the header names
            another event than the body is.
    """
    kind = _kind(headers, payload)
    match kind:
        case "push":
            return _push(payload, url)
        case "pull_request":
            return _pull_request(payload, url)
        case "ping":
            return Irrelevant(reason="GitHub's ping: the webhook works")
        case "create" | "delete":
            return _created_or_deleted(kind, payload)
        case _:
            return Irrelevant(reason=f"GitHub's event `{kind}` starts nothing here")


def _kind(headers: Mapping[str, str], payload: Payload) -> str:
    if EVENT_HEADER not in headers:
        raise PayloadInvalidError("the header X-GitHub-Event is missing")
    claimed = reading.word(headers, EVENT_HEADER)
    shown = _shape(payload)
    if shown is not None and shown != claimed:
        raise PayloadInvalidError(f"X-GitHub-Event says `{claimed}`, but the body is a `{shown}`")
    return claimed


def _shape(payload: Payload) -> str | None:
    """Which of the events that matter the body alone shows; None for every other."""
    if {"ref", "before", "after", "commits"} <= payload.keys():
        return "push"
    if {"action", "number", "pull_request"} <= payload.keys():
        return "pull_request"
    return None


def _created_or_deleted(kind: str, payload: Payload) -> Irrelevant:
    ref = reading.ref(payload, "ref")
    what = f"{reading.word(payload, 'ref_type')} {ref}"
    if kind == "delete":
        return Irrelevant(reason=f"{what} was deleted: nothing to build", ref=ref)
    return Irrelevant(reason=f"{what} was created: the push that comes with it counts", ref=ref)


def _push(payload: Payload, url: str) -> Event | Irrelevant:
    ref = reading.ref(payload, "ref")
    branch, tag = reading.split_ref(ref)
    after = reading.maybe_sha(payload, "after")
    if branch is None and tag is None:
        return Irrelevant(reason=f"{ref} is neither a branch nor a tag", ref=ref)
    if payload.get("deleted") is True or after is None:
        return Irrelevant(reason=f"{ref} was deleted: nothing to build", ref=ref)
    # An annotated tag's `after` is the tag object; the commit it names is the head commit.
    sha = (reading.maybe_sha(payload, "head_commit", "id") if tag else None) or after
    if branch is not None and branch.startswith(MERGE_QUEUE):
        return _of_merge_queue(branch, ref, sha)
    found = _needed_repository(payload)
    message = reading.prose(payload, "head_commit", "message", limit=reading.MAX_PROSE)
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
        author=reading.prose(payload, "head_commit", "author", "name"),
        actor=reading.prose(payload, "sender", "login") or reading.prose(payload, "pusher", "name"),
        actor_id=_id_text(payload, "sender", "id"),
        url=f"{url}/{found.full_name}/commit/{sha}",
    )


def _of_merge_queue(branch: str, ref: str, sha: str) -> Irrelevant:
    return Irrelevant(reason=f"{branch} belongs to GitHub's merge queue", ref=ref, sha=sha)


def pushed(
    repository: RepositoryRef, url: str, *, ref: str, before: str | None, sha: str
) -> Event | Irrelevant:
    """What a webhook would have told of a branch or tag that points at this commit now."""
    branch, tag = reading.split_ref(ref)
    if branch is not None and branch.startswith(MERGE_QUEUE):
        return _of_merge_queue(branch, ref, sha)
    return Event(
        kind=EventKind.TAG if tag else EventKind.PUSH,
        repository=repository.full_name,
        sha=sha,
        ref=ref,
        before=before,
        branch=branch,
        tag=tag,
        default_branch=repository.default_branch,
        url=f"{url}/{repository.full_name}/commit/{sha}",
    )


def _pull_request(payload: Payload, url: str) -> Event | Irrelevant:
    action = reading.word(payload, "action")
    number = reading.number(payload, "number")
    ref = f"refs/pull/{number}/head"
    if action not in BUILT_ACTIONS:
        said = "was closed" if action == "closed" else f"got the action `{action}`"
        return Irrelevant(reason=f"pull request #{number} {said}: nothing to build", ref=ref)
    found = _needed_repository(payload)
    base_id = reading.number(payload, "pull_request", "base", "repo", "id")
    if str(base_id) != found.external_id:
        raise PayloadInvalidError("the pull request's base is another repository than the body's")
    sha = reading.sha(payload, "pull_request", "head", "sha")
    source = reading.ref(payload, "pull_request", "head", "ref")
    return Event(
        kind=EventKind.PULL_REQUEST,
        repository=found.full_name,
        sha=sha,
        ref=ref,
        before=reading.sha(payload, "pull_request", "base", "sha"),
        branch=reading.ref(payload, "pull_request", "base", "ref"),
        pull_request=number,
        source_branch=source,
        from_fork=_from_fork(payload, base_id) or reading.names_commit(source, sha),
        default_branch=found.default_branch,
        title=reading.first_line(reading.prose(payload, "pull_request", "title")),
        author=reading.prose(payload, "pull_request", "user", "login"),
        actor=reading.prose(payload, "sender", "login"),
        actor_id=_id_text(payload, "sender", "id"),
        author_id=_id_text(payload, "pull_request", "user", "id"),
        url=f"{url}/{found.full_name}/pull/{number}",
    )


def _from_fork(payload: Payload, base_id: int) -> bool:
    """Decided by the repositories' ids alone; a deleted fork is null, and still a stranger's."""
    if reading.value(payload, "pull_request", "head", "repo") is None:
        return True
    return reading.number(payload, "pull_request", "head", "repo", "id") != base_id


def _needed_repository(payload: Payload) -> RepositoryRef:
    found = repository(payload)
    if found is None:
        raise reading.refuse("object", "repository")
    return found


def _id_text(payload: Payload, *path: str) -> str | None:
    found = reading.maybe_number(payload, *path)
    return None if found is None else str(found)
