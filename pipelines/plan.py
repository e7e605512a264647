"""What will run: the shape that planning makes, execution walks and the store keeps."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from pipelines.values import Value


class Stage(StrEnum):
    """The stages, in the order they run."""

    BUILD = "build"
    TEST = "test"
    PUSH = "push"
    # `deploy` comes with channels.


STAGE_ORDER: tuple[Stage, ...] = tuple(Stage)


class NamedImage(Value):
    """An image by its name in a registry or on the engine: `python:3.12-slim`."""

    kind: Literal["named"] = "named"
    name: str


class BuiltImageRef(Value):
    """The image that a build step of the same plan makes."""

    kind: Literal["built"] = "built"
    build: str
    """The build step's key: `build.web`."""


ImageRef = Annotated[NamedImage | BuiltImageRef, Field(discriminator="kind")]


class BuildWork(Value):
    """Make an image from a Dockerfile in the commit's own tree."""

    kind: Literal["build"] = "build"
    dockerfile: str = "Dockerfile"
    """Path of the Dockerfile from the repository's root."""
    context: str = "."
    """Folder sent to the builder, from the repository's root."""
    target: str | None = None
    args: dict[str, str] = {}
    reproducible: bool = True
    """Whether a push takes the image in its one form, the same for every build of the commit."""


class CommandsWork(Value):
    """Run commands, in order, in one container with the workspace."""

    kind: Literal["commands"] = "commands"
    image: ImageRef
    commands: tuple[str, ...]


class PushWork(Value):
    """Push a built image under each of its tags."""

    kind: Literal["push"] = "push"
    image: BuiltImageRef
    repository: str
    """Registry host and path without a tag: `ghcr.io/acme/web`."""
    tags: tuple[str, ...]
    retry_safe: bool = False
    """Whether one that was cut off may be repeated without a person."""


Work = Annotated[BuildWork | CommandsWork | PushWork, Field(discriminator="kind")]


class Resources(Value):
    """Less than the server allows a step; None: what it allows."""

    memory: int | None = None
    """Bytes."""
    cpus: float | None = None


class Step(Value):
    """One thing to do, and what must have passed before."""

    stage: Stage
    name: str
    needs: tuple[str, ...] = ()
    """Keys of the steps that must have ended well before this one starts."""
    timeout: float
    """Seconds."""
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    """Environment variables whose values are secrets, each with the secret's name."""
    after_success: bool = True
    """Whether it runs where everything it needs has passed."""
    after_failure: bool = False
    """Whether it runs where something it needs has not passed."""
    allow_failure: bool = False
    """Whether its failure counts as passed for everything but itself."""
    resources: Resources = Resources()
    work: Work

    @property
    def key(self) -> str:
        """`test.unit`: unique within a plan."""
        return f"{self.stage}.{self.name}"


class Group(Value):
    """Runs of one repository that take turns."""

    name: str
    cancel_in_progress: bool = False
    """Whether a newer run for the same branch, tag or pull request supersedes the older ones."""


class Plan(Value):
    """A matched definition made ready to run; steps stand in the order of the file's stages."""

    pipeline: str
    """The pipeline's name; part of the status context `lading/<event>/<pipeline>`."""
    steps: tuple[Step, ...]
    timeout: float
    """Seconds for the whole attempt."""
    group: Group | None = None
    """Which runs this one takes turns with; None: with none."""
    labels: dict[str, str] = {}
    """OCI labels (`org.opencontainers.image.…`) that every image built here carries."""
    left_out: dict[str, str] = {}
    """Keys of the file's steps that this event leaves out, each with the sentence that says why."""

    def step(self, key: str) -> Step:
        """The step of that key.

        Raises:
            KeyError: No step has it.
        """
        for step in self.steps:
            if step.key == key:
                return step
        raise KeyError(key)
