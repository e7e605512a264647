"""What our post-receive hook sends, read into an event. Pure."""

from __future__ import annotations

import json
import re
from typing import cast

from pipelines.events import Event, EventKind
from server.hosts.port import Irrelevant, Payload, PayloadInvalidError, RepositoryRef

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SEGMENT = re.compile(r"(?!.*\.\.)\w[\w.+~@-]*")
_LONGEST_NAME = 255
_LONGEST_REF = 1024
_BRANCH = "refs/heads/"
_TAG = "refs/tags/"


def parse(body: bytes) -> Payload:
    """The body as a JSON object.

    Raises:
        PayloadInvalidError: It is no JSON, or no object.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PayloadInvalidError(f"the body is no JSON: {type(error).__name__}") from None
    if not isinstance(payload, dict):
        raise PayloadInvalidError("the body is JSON, but no object")
    return cast("Payload", payload)


def repository_name(name: str) -> str:
    """The name itself, once it is known to be safe behind a folder or an address.

    Raises:
        PayloadInvalidError: It could lead out of the folder, or be read as an option.
    """
    if len(name) > _LONGEST_NAME or not all(_SEGMENT.fullmatch(part) for part in name.split("/")):
        raise PayloadInvalidError(
            f"{name[:80]!r} is no repository name: use letters, digits, `_`, `.`, `-`, "
            "with `/` between folders"
        )
    return name


def repository(payload: Payload) -> RepositoryRef | None:
    """The repository the push went to; None where the payload names none.

    Raises:
        PayloadInvalidError: Its name is not one that we would ever fetch.
    """
    name = payload.get("repository")
    if not isinstance(name, str):
        return None
    checked = repository_name(name)
    return RepositoryRef(
        external_id=checked,
        full_name=checked,
        default_branch=_text(payload, "default_branch") or None,
    )


def read(payload: Payload) -> Event | Irrelevant:
    """One updated ref as an event.

    Raises:
        PayloadInvalidError: `repository`, `ref`, `before` or `after` is missing or malformed.
    """
    found = repository(payload)
    if found is None:
        raise PayloadInvalidError("the field `repository` is missing")
    ref = _ref(payload)
    after = _sha(payload, "after")
    if after is None:
        return Irrelevant(reason=f"{_spoken(ref)} was deleted: there is nothing to build", ref=ref)
    if not ref.startswith((_BRANCH, _TAG)):
        return Irrelevant(reason=f"{ref} is neither a branch nor a tag", ref=ref)
    if "commit" in payload and payload["commit"] is None:
        return Irrelevant(reason=f"{_spoken(ref)} does not point at a commit", ref=ref)
    # An annotated tag is an object of its own; the hook says which commit it points at.
    commit = _sha(payload, "commit") if "commit" in payload else None
    is_tag = ref.startswith(_TAG)
    return Event(
        kind=EventKind.TAG if is_tag else EventKind.PUSH,
        repository=found.full_name,
        sha=commit or after,
        ref=ref,
        before=_sha(payload, "before"),
        branch=None if is_tag else ref.removeprefix(_BRANCH),
        tag=ref.removeprefix(_TAG) if is_tag else None,
        default_branch=found.default_branch,
        title=_text(payload, "title"),
        message=_text(payload, "message"),
        author=_text(payload, "author"),
        actor=_text(payload, "pusher"),
    )


def pushed(
    repository: RepositoryRef, *, ref: str, before: str | None, sha: str
) -> Event | Irrelevant:
    """What the hook would have told of a branch or tag that points at this commit now."""
    is_tag = ref.startswith(_TAG)
    return Event(
        kind=EventKind.TAG if is_tag else EventKind.PUSH,
        repository=repository.full_name,
        sha=sha,
        ref=ref,
        before=before,
        branch=None if is_tag else ref.removeprefix(_BRANCH),
        tag=ref.removeprefix(_TAG) if is_tag else None,
        default_branch=repository.default_branch,
    )


def _ref(payload: Payload) -> str:
    ref = payload.get("ref")
    if not isinstance(ref, str) or not ref.startswith("refs/") or len(ref) > _LONGEST_REF:
        raise PayloadInvalidError("the field `ref` must be a full ref name like refs/heads/main")
    # git makes no such refs; whoever sends one is not our hook.
    if ref.endswith("/") or any(ord(char) <= ord(" ") or ord(char) == 127 for char in ref):  # noqa: PLR2004 - DEL
        raise PayloadInvalidError("the field `ref` is not a name that git allows")
    return ref


def _sha(payload: Payload, field: str) -> str | None:
    """The commit in a field; None for zeros, which stand for no commit."""
    value = payload.get(field)
    if not isinstance(value, str) or not _SHA.fullmatch(value):
        raise PayloadInvalidError(f"the field `{field}` must be a full commit id")
    return value if value.strip("0") else None


def _text(payload: Payload, field: str) -> str:
    value = payload.get(field)
    return value if isinstance(value, str) else ""


def _spoken(ref: str) -> str:
    if ref.startswith(_TAG):
        return f"the tag {ref.removeprefix(_TAG)}"
    return f"the branch {ref.removeprefix(_BRANCH)}" if ref.startswith(_BRANCH) else ref
