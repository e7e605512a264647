"""Which version somebody means, and which one a rollback goes to; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipelines.references import is_tag, is_write_once
from pipelines.registries.contents import DIGEST
from pipelines.values import Value
from server.actions import InputsError, NotFoundError
from server.store.channels import MoveKind, MoveRow, MoveState
from server.store.rows import ImageVersionRow

_PART_OF_DIGEST = re.compile(r"sha256:[0-9a-f]{6,64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)


class Version(Value):
    """An image version: one digest, as it was pushed last."""

    image: str
    digest: str
    tags: tuple[str, ...]
    sha: str
    branch: str | None
    run: int


def version_of(row: ImageVersionRow) -> Version:
    """The version that a row tells of."""
    return Version(**row.model_dump(include=set(Version.model_fields)))


def chosen(image: str, rows: Sequence[ImageVersionRow], wanted: str) -> Version:
    """The version of an image that somebody means: by digest, tag or commit.

    A tag means the version that was pushed under it last. Of a commit that was pushed several times
    the last push counts, which is what the commit's own tag leads to.

    Args:
        image: For people.
        rows: Its versions, newest first.
        wanted: `sha256:…` (six digits or more), a tag, or seven digits of a commit or more.

    Raises:
        NotFoundError: No version is meant.
        InputsError: Several are.
    """
    if _PART_OF_DIGEST.fullmatch(wanted):
        found = [row for row in rows if row.digest.startswith(wanted)]
    else:
        found = [row for row in rows if wanted in row.tags][:1]
        if not found and _COMMIT.fullmatch(wanted):
            found = [row for row in rows if row.sha.startswith(wanted)]
    if not found:
        raise NotFoundError(
            f"no version {wanted[:100]!r} of {image} was pushed by Lading: `lading images {image}` "
            "lists them with tags and commits"
        )
    meant = {row.digest if _PART_OF_DIGEST.fullmatch(wanted) else row.sha for row in found}
    if len(meant) > 1:
        listed = ", ".join(sorted(meant)[:5])
        raise InputsError(
            f"{wanted} may mean several versions of {image}: {listed}; give more of it"
        )
    return version_of(found[0])


def checked_channel(name: str) -> str:
    """A name that a channel may have.

    Raises:
        InputsError: It is no tag, or one that is written once.
    """
    if not is_tag(name) or DIGEST.fullmatch(name):
        raise InputsError(
            f"{name[:130]!r} cannot be a channel: it is a tag in the registry, of letters, digits, "
            "`.`, `_` and `-`, like production"
        )
    if is_write_once(name):
        raise InputsError(
            f"{name} cannot be a channel: tags of commits (`sha-…`) and versions (`v1.2.3`) are "
            "written once and never moved; choose a name like production"
        )
    return name


def earlier(moves: Iterable[MoveRow]) -> str | None:
    """Where a rollback of a channel goes when nobody says where: the digest before the present one.

    A rollback takes back what came after its target, so that a second one goes a step further back.

    Args:
        moves: Of one channel, newest first.

    Returns:
        A digest; None where there is nothing before.
    """
    stack: list[str] = []
    for move in sorted(moves, key=lambda each: each.id):
        if move.state is not MoveState.MOVED:
            continue
        if not stack and move.from_digest is not None:
            stack.append(move.from_digest)
        if move.kind is MoveKind.ROLLBACK and move.digest in stack:
            del stack[stack.index(move.digest) + 1 :]
        elif not stack or stack[-1] != move.digest:
            stack.append(move.digest)
    return stack[-2] if len(stack) > 1 else None


def image_named(known: Sequence[str], wanted: str) -> str:
    """The image that somebody means: by its whole name, or the end of one.

    Raises:
        NotFoundError: None is called so.
        InputsError: Several are.
    """
    if wanted in known:
        return wanted
    found = [image for image in known if image.endswith(f"/{wanted}")]
    if not found:
        raise NotFoundError(
            f"no version of an image {wanted[:200]!r} was pushed: `lading images` lists those that "
            "were"
        )
    if len(found) > 1:
        raise InputsError(f"{wanted} may mean {' or '.join(found)}: give the whole name")
    return found[0]
