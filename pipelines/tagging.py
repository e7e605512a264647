"""The tags an image gets from git: never one that belongs to another branch or version.

`latest`, `sha-…`, `pr-…` and versions are tags that people trust to come from one place. A branch
or git tag whose name would give such a tag, or the tag of the default branch, gets six digits of
its own name's hash behind it: a branch called `latest` gives `latest-8a3f5c`.
"""

from __future__ import annotations

import re
from hashlib import sha256

from pipelines.events import Event, EventKind

MAX_SLUG = 100

_VERSION = re.compile(
    # https://semver.org, number 9 and 10; a leading v is how git tags spell it.
    r"v?(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})"
    r"(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_TRUSTED = re.compile(r"latest|sha-[0-9a-f]+|pr-[0-9]+", re.IGNORECASE | re.ASCII)
_LIKE_VERSION = re.compile(r"v?\d+(?:\.\d+){0,2}(?:-.*)?", re.ASCII)


def default_tags(event: Event) -> tuple[str, ...]:
    """The tags of a push that names none.

    A branch gives its slug and `sha-<12 digits>`, the default branch `latest` too; a tag `v1.2.3`
    gives `1.2.3`, `1.2`, `1` and `latest`, a pre-release only itself, any other tag its own name;
    a pull request gives `pr-<number>` and nothing else, so that it moves no tag of a branch.
    """
    if event.tag is not None:
        return version_tags(event.tag)
    if event.kind is EventKind.PULL_REQUEST:
        return () if event.pull_request is None else (f"pr-{event.pull_request}",)
    sha = f"sha-{event.short_sha}"
    if event.branch is None:
        return (sha,)
    latest = ("latest",) if event.branch == event.default_branch else ()
    return (branch_slug(event.branch, event.default_branch), sha, *latest)


def version_tags(tag: str) -> tuple[str, ...]:
    """The tags that a git tag gives."""
    version = _VERSION.fullmatch(tag)
    if version is None or len(tag) > MAX_SLUG:
        return (tag_slug(tag),)
    major, minor, _, before, _ = version.groups()
    whole = tag.removeprefix("v").replace("+", "-")
    if before or "+" in tag:
        return (whole,)
    # 0.x promises nothing from one minor version to the next, so there is no tag `0`.
    return (whole, f"{major}.{minor}", *((major,) if major != "0" else ()), "latest")


def branch_slug(branch: str, default_branch: str | None = None) -> str:
    """A branch's name as a tag: lower case, `-` for what a tag may not hold, never empty."""
    slug = _lowered(branch)
    main = branch == default_branch
    # `release/1` reads as `release-1`; anything else that changes might be another branch's name.
    plain = main or slug == branch.replace("/", "-")
    taken = default_branch is not None and not main and slug == _lowered(default_branch)
    trusted = _TRUSTED.fullmatch(slug) or _LIKE_VERSION.fullmatch(slug)
    return slug if plain and _fits(slug) and not taken and not trusted else _marked(slug, branch)


def tag_slug(tag: str) -> str:
    """A git tag's name as a tag: as it is where it can be, never one that is trusted."""
    slug = re.sub(r"[^A-Za-z0-9._-]", "-", tag)
    plain = slug == tag.replace("/", "-").replace("+", "-")
    return slug if plain and _fits(slug) and not _TRUSTED.fullmatch(slug) else _marked(slug, tag)


def _lowered(branch: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", branch.lower())


def _fits(slug: str) -> bool:
    return 0 < len(slug) <= MAX_SLUG and slug[0] not in ".-"


def _marked(slug: str, name: str) -> str:
    digits = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{slug.lstrip('.-')[: MAX_SLUG - 7] or 'ref'}-{digits}"
