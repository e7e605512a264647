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
    DEPLOY = "deploy"


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
    template: str | None = None
    """The template that the Dockerfile was rendered of; None: it is the repository's own."""
    rendered: str | None = None
    """The rendered Dockerfile's text."""
    files: tuple[str, ...] = ()
    """The paths of the context that are sent to the builder; empty: all of it."""

    @property
    def recipe(self) -> str:
        """What the Dockerfile is called, to people."""
        return f"the Dockerfile of template {self.template}" if self.template else self.dockerfile


class Ready(Value):
    """When a service counts as ready: one of the two."""

    port: int | None = None
    """It listens on this TCP port, where the step can reach it."""
    command: str | None = None
    """This command, run in its container by `sh`, has ended with 0."""
    within: float = 60.0
    """Seconds after its start."""


class Service(Value):
    """Something that runs beside a step's commands, which reach it by its name."""

    name: str
    image: str
    args: tuple[str, ...] = ()
    """In place of the image's own command."""
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    """Environment variables whose values are secrets, each with the secret's name."""
    ready: Ready | None = None
    """None: as soon as it has started."""


class Cache(Value):
    """Files of the workspace that later runs find again."""

    key: str
    paths: tuple[str, ...]
    """From the workspace's root."""
    reads: tuple[str, ...] = ()
    """Scopes in which it is looked for, the first that has it counts."""
    writes: str | None = None
    """The scope it is kept in after a success; None: nowhere."""
    refusal: str = ""
    """Why it is not read or not written, for people."""


class Keeps(Value):
    """What is kept of the workspace as a step's commands have left it."""

    artifacts: tuple[str, ...] = ()
    """Patterns of paths; of a folder, all that is in it."""
    expire_in: float | None = None
    """Seconds that the artifacts are kept; None: as long as whoever keeps them thinks fit."""
    junit: tuple[str, ...] = ()
    """Patterns of test reports, as JUnit writes them."""


class CommandsWork(Value):
    """Run commands, in order, in one container with the workspace."""

    kind: Literal["commands"] = "commands"
    image: ImageRef
    commands: tuple[str, ...]
    services: tuple[Service, ...] = ()
    cache: Cache | None = None
    keeps: Keeps = Keeps()


class PushWork(Value):
    """Push a built image under each of its tags."""

    kind: Literal["push"] = "push"
    image: BuiltImageRef
    repository: str
    """Registry host and path without a tag: `ghcr.io/acme/web`."""
    tags: tuple[str, ...]
    retry_safe: bool = False
    """Whether one that was cut off may be repeated without a person."""


class NoWork(Value):
    """Nothing that an engine does: all there is to do is to move the step's channel."""

    kind: Literal["none"] = "none"


Work = Annotated[BuildWork | CommandsWork | PushWork | NoWork, Field(discriminator="kind")]


class Channel(Value):
    """A moving tag that a deploy has lead to what was pushed, once its own work has passed."""

    name: str
    pushes: tuple[str, ...]
    """Keys of the push steps; it moves in the repository of each, to the digest of each."""


class Resources(Value):
    """Less than the server allows a step; None: what it allows."""

    memory: int | None = None
    """Bytes."""
    cpus: float | None = None


class Approval(Value):
    """What a person is asked before a step may start."""

    prompt: str
    timeout: float
    """Seconds until nobody is asked any more, and the step is cancelled."""


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
    retries: int = 0
    """How often it is tried again after a failure of its own."""
    approval: Approval | None = None
    """What a person is asked before it starts; None: nobody is asked."""
    channel: Channel | None = None
    """What it moves in registries; None: nothing."""
    work: Work

    @property
    def key(self) -> str:
        """`test.unit`: unique within a plan."""
        return f"{self.stage}.{self.name}"

    @property
    def services(self) -> tuple[Service, ...]:
        """What runs beside its commands."""
        return self.work.services if isinstance(self.work, CommandsWork) else ()

    @property
    def named_secrets(self) -> dict[str, dict[str, str]]:
        """The secrets that it and its services name, by whose environment they go into."""
        own = {service_key(self.key, each.name): each.secrets for each in self.services}
        return {who: named for who, named in {self.key: self.secrets, **own}.items() if named}


def service_key(step: str, service: str) -> str:
    """What a step's service is called among the things of an attempt: `test.unit/db`."""
    return f"{step}/{service}"


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
    trusted: bool = True
    """Whether the commit was put into the repository by somebody who may write there.

    Where it was not, its steps get no secrets and no registry login, push and deploy nothing, and
    write to no cache that others read.
    """
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
