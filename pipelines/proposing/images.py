"""Dockerfiles."""

from __future__ import annotations

import re

from pipelines.proposing.files import Files
from pipelines.proposing.proposals import BuildStep, Found, Line, TestStep

_NAME = "Dockerfile"
_MOST = 5
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)
_SHELLESS = ("scratch", "distroless", "static", "chainguard")


def look(files: Files, name: str) -> tuple[Found, list[BuildStep], list[TestStep]] | None:
    """The images that Dockerfiles make; None where there is none.

    Args:
        files: The repository.
        name: What the image of a Dockerfile at the root is called.
    """
    paths = [path for path in files.paths if path.rpartition("/")[2] == _NAME]
    if _NAME in paths:
        paths = [_NAME]
    paths = [path for path in paths if path.count("/") <= 1][:_MOST]
    if not paths:
        return None
    builds = [_build(path, name) for path in paths]
    tests = [
        test
        for path, build in zip(paths, builds, strict=True)
        if (test := _test(files.text(path), build, alone=len(builds) == 1))
    ]
    return Found(what="an image", why=", ".join(paths)), builds, tests


def _build(path: str, name: str) -> BuildStep:
    folder = path.rpartition("/")[0]
    return BuildStep(name=step_name(folder) if folder else name, folder=folder or ".")


def _test(text: str, build: BuildStep, *, alone: bool) -> TestStep | None:
    """A step in the image; None where the image has no shell to run one in."""
    if any(word in _base(text) for word in _SHELLESS):
        return None
    return TestStep(
        name="image" if alone else f"image-{build.name}",
        about="runs in the image that was just built; the commit's files are in /workspace",
        image=f"build.{build.name}",
        image_note="",
        lines=(
            Line(
                command='echo "the image starts"',
                note="put a command here that shows that the image works",
            ),
        ),
    )


def _base(text: str) -> str:
    """The image that the last stage of a Dockerfile starts from."""
    stages = {name.lower(): image for image, name in _FROM.findall(text) if name}
    found = _FROM.findall(text)
    base = found[-1][0].lower() if found else ""
    for _ in stages:
        base = stages.get(base, base).lower()
    return base


def step_name(text: str) -> str:
    """A text as a step's name; never empty."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:40] or "app"
