"""What an image may be called: names, repositories and tags.

The grammar is that of the OCI distribution specification, "Pulling manifests"
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests), with the
registry host before it as https://github.com/distribution/reference writes it.
"""

from __future__ import annotations

import re

MAX_NAME = 255
"""Characters of a repository's name with its host; what registries agree on."""
MAX_TAG = 128

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
# A first part without a dot, a port or the name localhost is a folder on Docker Hub, not a host.
_HOST = rf"(?:localhost|\[[a-fA-F0-9:]+\]|{_LABEL}(?:\.{_LABEL})+|{_LABEL}(?=:))(?::[0-9]{{1,5}})?"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_DIGEST = r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]{32,128}"

# `sha-…` and versions are tags that people trust to lead to the same bytes for ever.
_WRITE_ONCE = re.compile(r"sha-[0-9a-f]+|v\d.*|\d+\.\d+\.\d+.*", re.ASCII | re.IGNORECASE)

_TAG_ALONE = re.compile(_TAG, re.ASCII)
_REPOSITORY = re.compile(rf"{_HOST}(?:/{_PART})+", re.ASCII)
_REPOSITORY_TAGGED = re.compile(rf"{_HOST}(?:/{_PART})+(?::{_TAG}|@{_DIGEST})+", re.ASCII)
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::{_TAG})?(?:@{_DIGEST})?", re.ASCII)


def is_tag(text: str) -> bool:
    """Whether it is a tag: `1.2.3`, `latest`."""
    return _TAG_ALONE.fullmatch(text) is not None


def is_write_once(tag: str) -> bool:
    """Whether a tag, once written, must never lead to anything else: `sha-1f3c`, `v1.2.3`."""
    return _WRITE_ONCE.fullmatch(tag) is not None


def is_repository(text: str) -> bool:
    """Whether it is a registry host and a path, without a tag: `ghcr.io/acme/web`."""
    return len(text) <= MAX_NAME and _REPOSITORY.fullmatch(text) is not None


def is_tagged_repository(text: str) -> bool:
    """Whether it would be a repository but for the tag or digest at its end."""
    return len(text) <= MAX_NAME + MAX_TAG * 3 and _REPOSITORY_TAGGED.fullmatch(text) is not None


def is_image(text: str) -> bool:
    """Whether it names an image to pull: `python:3.12-slim`, `ghcr.io/acme/web@sha256:…`."""
    return len(text) <= MAX_NAME + MAX_TAG * 3 and _IMAGE.fullmatch(text) is not None
