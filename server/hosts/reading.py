"""Typed fields out of a payload whose every byte a stranger may have chosen.

Each reader takes the payload and the keys that lead to a field, and raises only
`PayloadInvalidError`, which names the field. Two kinds of text are told apart: *names* (refs, ids,
paths) reach git and addresses, so anything odd in them is refused; *prose* (titles, messages) is
only shown, so what a database or a page could choke on is replaced and the length is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pydantic_core import from_json

from server.hosts.port import Payload, PayloadInvalidError

MAX_NAME = 1024  # characters; git itself stops far earlier on most file systems
MAX_LINE = 500  # characters of a title or a person's name
MAX_PROSE = 64 * 1024  # characters of a commit message
MIN_CUT = 7  # digits of a commit's id that is cut short
MAX_ID = 2**63 - 1  # what a database's integer holds

_SHA = re.compile(r"[0-9a-f]{40,64}")
_FULL_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)+")
# https://git-scm.com/docs/git-check-ref-format, and no leading dash: git would read an option.
_BAD_IN_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[./]|[./]$"
    r"|^(refs/(heads|tags)/)?-"
)


def json_object(body: bytes) -> Payload:
    """The body as a JSON object.

    Raises:
        PayloadInvalidError: It is no JSON, too deep, or not an object.
    """
    try:
        found = _parsed(body)
    except RecursionError:
        raise PayloadInvalidError("the body is nested too deep to be a webhook's") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "odd text or number"
        raise PayloadInvalidError(f"the body is not JSON: {reason}") from None
    if not isinstance(found, dict):
        raise PayloadInvalidError("the body is JSON, but not an object")
    return found


def _parsed(body: bytes) -> Any:  # noqa: ANN401  (any JSON value)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        # Half as quick, and it takes what hosts do send: lone surrogates, a byte order mark.
        return json.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def value(data: Mapping[str, Any], *path: str) -> Any:  # noqa: ANN401  (any JSON value)
    """What stands at the path; None where nothing does, or something on the way is no object."""
    found: Any = data
    for part in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def refuse(what: str, *path: str) -> PayloadInvalidError:
    """The error for a field: "the body has no <what> at `<path>`"."""
    return PayloadInvalidError(f"the body has no {what} at `{'.'.join(path)}`")


def table(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at the path."""
    found = value(data, *path)
    if not isinstance(found, Mapping):
        raise refuse("object", *path)
    return found


def rows(data: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """The objects in the list at the path; what is no object is left out, no list is none."""
    found = value(data, *path)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def number(data: Mapping[str, Any], *path: str) -> int:
    """The positive whole number at the path: an id, or a pull request's number."""
    found = value(data, *path)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MAX_ID:
        raise refuse("positive whole number", *path)
    return found


def maybe_number(data: Mapping[str, Any], *path: str) -> int | None:
    """As `number`, and None where there is none."""
    try:
        return number(data, *path)
    except PayloadInvalidError:
        return None


def word(data: Mapping[str, Any], *path: str) -> str:
    """A short word such as an action or a kind, to be compared and shown."""
    found = value(data, *path)
    if not isinstance(found, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", found):
        raise refuse("word", *path)
    return found


def prose(data: Mapping[str, Any], *path: str, limit: int = MAX_LINE) -> str:
    """Text that is only shown: made harmless for databases, cut; empty where there is none."""
    found = value(data, *path)
    return printable(found[:limit]) if isinstance(found, str) else ""


def printable(text: str) -> str:
    """The text without what UTF-8 (lone surrogates) and PostgreSQL (NUL) cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def first_line(text: str) -> str:
    """The first line that says something, cut to a title's length."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:MAX_LINE]


def maybe_sha(data: Mapping[str, Any], *path: str) -> str | None:
    """A commit id, or None for null, nothing and the all-zero id that means "none".

    Raises:
        PayloadInvalidError: Something else stands there.
    """
    found = value(data, *path)
    if found is None:
        return None
    if not isinstance(found, str) or not _SHA.fullmatch(found):
        raise refuse("commit id (40 to 64 lower-case hex digits)", *path)
    return None if not found.strip("0") else found


def sha(data: Mapping[str, Any], *path: str) -> str:
    """A commit id that names a commit."""
    found = maybe_sha(data, *path)
    if found is None:
        raise refuse("commit id (40 to 64 lower-case hex digits)", *path)
    return found


def ref(data: Mapping[str, Any], *path: str) -> str:
    """A git ref or the short name of a branch or tag, as `git check-ref-format` allows them."""
    found = value(data, *path)
    if not isinstance(found, str) or not is_ref(found):
        raise refuse("usable git ref", *path)
    return found


def maybe_ref(data: Mapping[str, Any], *path: str) -> str | None:
    """As `ref`, and None where there is none or it is odd: for fields a run can do without."""
    found = value(data, *path)
    return found if isinstance(found, str) and is_ref(found) else None


def is_ref(name: str) -> bool:
    """Whether git takes the name, and no tool on the way can read it as an option."""
    return (
        0 < len(name) <= MAX_NAME
        and name != "@"
        and not _BAD_IN_REF.search(name)
        and name == printable(name)
    )


def full_name(data: Mapping[str, Any], *path: str) -> str:
    """A repository's path on its host: `owner/name`, `group/subgroup/name`."""
    found = value(data, *path)
    if not isinstance(found, str) or len(found) > MAX_NAME or not is_full_name(found):
        raise refuse("repository name", *path)
    return found


def is_full_name(name: str) -> bool:
    """Whether the name can stand in an address and stays below it."""
    return bool(_FULL_NAME.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


def names_commit(name: str, sha: str) -> bool:
    """Whether what should be a branch is a commit's id, whole or cut.

    Hosts keep a fork's commits where the base repository's are: that one of them can be named there
    does not say that anybody with a right to write has put it there.
    """
    return bool(_SHA.fullmatch(name)) or (len(name) >= MIN_CUT and sha.startswith(name))


def split_ref(name: str) -> tuple[str | None, str | None]:
    """`(branch, tag)` of a full ref; `(None, None)` for refs that are neither."""
    for prefix, is_branch in (("refs/heads/", True), ("refs/tags/", False)):
        if name.startswith(prefix) and len(name) > len(prefix):
            short = name.removeprefix(prefix)
            return (short, None) if is_branch else (None, short)
    return None, None


def same_address(one: str, other: str) -> bool:
    """Whether two web addresses lead to the same place: case of the host and a last slash aside."""
    return _place(one) == _place(other)


def _place(address: str) -> tuple[str, str, str] | None:
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/")
