"""What is proposed, before it is written."""

from __future__ import annotations

from pipelines.values import Value


class Line(Value):
    """A command, and what to know about it."""

    command: str
    note: str = ""


class Found(Value):
    """Something that a repository is, and what shows it."""

    what: str
    """`a Python project`."""
    why: str
    """`pyproject.toml, and tests that use pytest`."""


class TestStep(Value):
    """A step that runs commands."""

    __test__ = False  # no test of ours, whatever pytest thinks of the name

    name: str
    about: str
    """What it does, for the line above it."""
    image: str
    """An image's name, or `build.web`."""
    image_note: str
    env: dict[str, str] = {}
    lines: tuple[Line, ...]


class BuildStep(Value):
    """An image that is built."""

    name: str
    folder: str = "."
    dockerfile: str = "Dockerfile"
    """From the folder."""


class TemplateStep(Value):
    """An image that a template could make, where there is no Dockerfile."""

    template: str
    keys: dict[str, str]
    """What it must be told: `version`, `site`."""


class Proposal(Value):
    """A pipeline to be written."""

    found: tuple[Found, ...]
    builds: tuple[BuildStep, ...] = ()
    tests: tuple[TestStep, ...] = ()
    template: TemplateStep | None = None
    """What could build an image, where nothing does."""
    to: str
    """Where an image of this repository would be pushed to."""
