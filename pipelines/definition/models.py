"""The keys of the pipeline file.

Every description here is the reference's text and the editor's: the JSON schema and
`docs/reference/pipeline.md` are made from these models.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from pipelines.definition import beside as b
from pipelines.definition import fields as f
from pipelines.definition import templated
from pipelines.events import EventKind
from pipelines.values import Value

MAX_STEPS = 1000
DEFAULT_NAME = "default"


class Paths(Value):
    """Which changed files count. A pattern or a list of patterns alone is `include`."""

    include: f.Patterns = Field(
        ("**",), description="A changed file of one of these patterns counts. Default: every file."
    )
    exclude: f.Patterns = Field((), description="A file of one of these patterns does not count.")


def _paths(value: object) -> object:
    return {"include": value} if isinstance(value, str | list) else value


class When(Value):
    """Conditions, all of which must hold."""

    event: f.Events = Field(
        tuple(EventKind),
        description="What happened: `push`, `pull_request`, `tag`, `schedule` or `manual`; one or "
        "a list. Default: any of them.",
    )
    branch: f.Patterns | None = Field(
        None,
        description="Patterns of the branch pushed to; for a pull request, of the branch it wants "
        "to go into. A tag has no branch.",
    )
    tag: f.Patterns | None = Field(None, description="Patterns of the git tag.")
    path: Annotated[
        Paths | None,
        BeforeValidator(_paths, json_schema_input_type=str | list[str] | Paths),
    ] = Field(
        None,
        description="Patterns of files, one of which must have changed. Where the changed files "
        "are not known (a new branch, a tag, a manual run) the condition holds.",
    )


class Input(Value):
    """What a person who starts the pipeline by hand may say."""

    type: f.InputWord = Field(
        f.InputKind.TEXT, description="`text` (the default), `number`, `boolean` or `choice`."
    )
    options: tuple[f.ShortText, ...] = Field(
        (), description="What may be chosen; for `choice` alone."
    )
    default: f.ShortText | None = Field(
        None,
        description="The value where none is given, and for every event but `manual`. An input "
        "without one must be given.",
    )
    description: f.ShortText = Field("", description="What it is for, as people read it.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.type is f.InputKind.CHOICE) != bool(self.options):
            hint = "`{type: choice, options: [smoke, full]}`"
            raise f.failed("P059", "`options` and the type `choice` go together", hint)
        if self.default is not None and (wrong := self.refusal(self.default)):
            raise f.failed("P059", f"the default {wrong}", "give one that fits")
        return self

    def refusal(self, value: str) -> str | None:
        """Why a value is none of this input; None where it is."""
        if self.type is f.InputKind.NUMBER and f.NUMBER.fullmatch(value) is None:
            return f"`{f.shown(value)}` is no number"
        if self.type is f.InputKind.BOOLEAN and value not in ("true", "false"):
            return f"`{f.shown(value)}` is neither true nor false"
        if self.type is f.InputKind.CHOICE and value not in self.options:
            return f"`{f.shown(value)}` is none of {', '.join(self.options)}"
        return None


class PipelineWhen(When):
    """Conditions of the pipeline, all of which must hold."""

    cron: f.CronLine | None = Field(
        None,
        description="For `event: schedule`: when, as crontab writes it, like `0 3 * * *`; five "
        "minutes apart at least. The default branch's file counts, and its head is run.",
    )
    timezone: f.TimeZone = Field(
        "UTC",
        description="For `cron`: whose clock, like `Europe/Berlin`. A time that the clock skips "
        "comes right after, one that it shows twice comes once.",
    )
    missed: f.MissedWord = Field(
        f.Missed.LATEST,
        description="For `cron`: what becomes of times at which the server did not run: `latest` "
        "makes up for the last of them, `skip` for none.",
    )
    inputs: dict[f.InputName, Input] = Field(
        {},
        description="For `event: manual`: what a person may say, each under a name; "
        "`${inputs.<name>}` and `CI_INPUT_<NAME>` stand for it.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        scheduled = EventKind.SCHEDULE in self.event and "event" in self.model_fields_set
        if scheduled and self.cron is None:
            raise f.failed("P060", "`event: schedule` has no `cron`", '`cron: "0 3 * * *"`')
        if self.cron is not None and self.event != (EventKind.SCHEDULE,):
            hint = "give the schedule an entry of its own"
            raise f.failed("P060", "`cron` goes with `event: schedule` alone", hint)
        if self.inputs and not (
            EventKind.MANUAL in self.event and "event" in self.model_fields_set
        ):
            hint = "give the inputs an entry with `event: manual`"
            raise f.failed("P060", "`inputs` go with `event: manual`", hint)
        return self


class StepWhen(When):
    """Conditions of a step, all of which must hold."""

    status: f.Ends = Field(
        (f.End.SUCCESS,),
        description="How what the step waits for has ended: `success` (the default), `failure` "
        "(run only when something it waits for did not pass), or both.",
    )


def _whens(value: object) -> object:
    if value == []:
        raise f.failed("P014", "`when` is an empty list", "add an entry, or take it out")
    return [value] if isinstance(value, dict | When) else value


Whens = Annotated[
    tuple[PipelineWhen, ...],
    BeforeValidator(_whens, json_schema_input_type=PipelineWhen | list[PipelineWhen]),
]


StepWhens = Annotated[
    tuple[StepWhen, ...], BeforeValidator(_whens, json_schema_input_type=StepWhen | list[StepWhen])
]


class Resources(Value):
    """What a step may use, within the server's own bounds."""

    memory: f.Memory | None = Field(
        None, description="Memory of its container, like `512MiB`. Default: the server's bound."
    )
    cpus: f.Cpus | None = Field(
        None, description="Processors, like `2` or `0.5`. Default: the server's bound."
    )


class Artifacts(Value):
    """Files that are kept as the step has left them, whether its commands pass or fail."""

    paths: f.KeptPaths = Field(
        description="Files, folders or patterns below the workspace, one or a list: `htmlcov/`, "
        "`dist/*.whl`. `${matrix.<key>}` may be part of one. Links are left out."
    )
    expire_in: f.Expiry | None = Field(
        None,
        description="How long they are kept, like `14d`; between `1m` and `365d`, and never longer "
        "than the run. Default: the server's.",
    )


class Reports(Value):
    """What the tests themselves report."""

    junit: f.KeptPaths = Field(
        description="Test reports as JUnit writes them (pytest: `--junitxml=report.xml`), one or "
        "a list; patterns and `${matrix.<key>}` as in `artifacts`. A report never fails a step: "
        "its commands do."
    )


class FromBuild(Value):
    """The image that a step of `build` makes in the same run."""

    build: str = Field(alias="from", description="The step as `build.name`.")


class FromSecret(Value):
    """A secret of the repository or the server, by its name."""

    from_secret: f.SecretName = Field(
        description="Its name, as `lading secret set` was told. A pull request from a fork gets "
        "none."
    )


def _shape(value: object) -> str:
    return "mapping" if isinstance(value, dict | Value) else "text"


AnyText = Annotated[
    Annotated[f.Text, Tag("text")] | Annotated[FromSecret, Tag("mapping")],
    Discriminator(_shape),
]
"""A text, or where a secret one comes from."""


AnyImage = Annotated[
    Annotated[f.ImageName, Tag("text")] | Annotated[FromBuild, Tag("mapping")],
    Discriminator(_shape),
]


class Ready(Value):
    """When a service is ready: `port` or `command`."""

    port: b.Port | None = Field(
        None, description="It listens on this TCP port, where the step can reach it."
    )
    command: b.Probe | None = Field(
        None,
        description="This command, run again and again by `sh` in the service's container, has "
        "ended with 0: `pg_isready -U app`.",
    )
    timeout: f.Seconds = Field(
        60.0,
        description="How long that may take from its start. Default: `60s`. Where it takes longer, "
        "the step fails and says which service was not ready.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.port is None) == (self.command is None):
            told = "neither `port` nor `command`" if self.port is None else "`port` and `command`"
            raise f.failed("P081", f"`ready` has {told}", "`ready: {port: 5432}`")
        return self


class Service(Value):
    """A container beside a step's commands, which reach it by its name."""

    image: f.ImageName = Field(
        description="The image's name; placeholders allowed, also of the step's `matrix`."
    )
    args: b.Arguments = Field(
        (),
        description="What the image is started with, in place of its own command: "
        "`[postgres, -c, fsync=off]`.",
    )
    env: dict[f.Variable, AnyText] = Field(
        {}, description="Its environment variables: texts, or `{from_secret: name}`."
    )
    ready: Ready | None = Field(
        None,
        description="What to wait for before the commands begin. Default: nothing but its start.",
    )


class Cache(Value):
    """Files that a step finds again in later runs of the repository."""

    key: b.CacheKey = Field(
        description="What it is called; placeholders allowed, also of the step's `matrix`. Steps "
        "with the same key and paths share it."
    )
    paths: b.CachePaths = Field(
        description="Files and folders of the workspace that are kept, from its root; one or a "
        "list."
    )


class Build(Value):
    """An image made from a Dockerfile. An entry with nothing in it is `./Dockerfile`.

    With `template` it has that template's parameters instead: see `Templated`.
    """

    dockerfile: f.RepositoryPath | None = Field(
        None,
        description="Path of the Dockerfile from the repository's root. "
        "Default: `Dockerfile` in the context.",
    )
    context: f.RepositoryPath = Field(
        ".", description="Folder sent to the builder, from the repository's root."
    )
    target: f.BuildTarget | None = Field(
        None, description="Stage of the Dockerfile to build. Default: the last."
    )
    args: dict[f.Argument, f.ArgumentText] = Field(
        {}, description="Build arguments (`ARG`). Values may hold placeholders."
    )
    retry: b.Tries = Field(
        0, description="How often it is built again where that fails, up to 5 times. Default: 0."
    )
    reproducible: f.Flag = Field(
        default=True,
        description="Whether the image is pushed in one canonical form, so that every build of the "
        "commit gives the same digest. `false`: the engine pushes it as its builder left it.",
    )


class Templated(Build):
    """An image made from a template: its Dockerfile is rendered of the parameters."""

    template: str
    parameters: Value
    """As the template's own model has them."""


def _build(value: object, info: ValidationInfo) -> object:
    if isinstance(value, dict) and "template" in value:
        context, parameters = templated.read(value, info.context)
        return Templated(template=value["template"], context=context, parameters=parameters)
    return {} if value is f.EMPTY else value


class Test(Value):
    """Commands in a container that holds the repository at the commit."""

    __test__ = False  # no test of ours, whatever pytest thinks of the name

    image: AnyImage | None = Field(
        None,
        description="Where the commands run: an image's name (placeholders allowed), or "
        "`{from: build.web}`. Default: the image built here, where the file builds exactly one.",
    )
    commands: f.Commands = Field(
        description="Run one after the other in one shell (`sh -e`); one text or a list."
    )
    env: dict[f.Variable, AnyText] = Field(
        {},
        description="Environment variables of this step, over those of the pipeline: texts, or "
        "`{from_secret: name}`.",
    )
    needs: f.Needs | None = Field(
        None,
        description="Steps (`build.web`, `test.lint`) after which this one starts, in place of "
        "the order of the stages. `[]` waits for nothing. A step always waits for the build it "
        "takes its image from.",
    )
    timeout: f.Seconds | None = Field(
        None, description="How long it may run, like `90s` or `10m`. Default: the pipeline's."
    )
    when: StepWhens | None = Field(
        None, description="Leave the step out unless one of these entries matches."
    )
    matrix: f.Matrix | None = Field(
        None,
        description="Run the step once for each combination of these values, side by side. "
        "`${matrix.<key>}` stands for a value in `image`, `CI_MATRIX_<KEY>` in the environment. "
        "Who needs the step waits for all of them.",
    )
    allow_failure: f.Flag = Field(
        default=False,
        description="Whether the run may pass, and what waits for the step go on, where it fails.",
    )
    retry: b.Tries = Field(
        0,
        description="How often the step is tried again where it fails, up to 5 times; `timeout` "
        "holds for each try. Default: 0.",
    )
    services: Annotated[dict[b.ServiceName, Service], b.NamedServices] = Field(
        {},
        description="Containers that run beside the commands, each under the name that the step "
        "reaches it by; at most 8.",
    )
    cache: Cache | None = Field(
        None,
        description="Files that are restored before the commands, and kept for later runs after a "
        "success. A pull request reads the default branch's and keeps nothing.",
    )
    resources: Resources | None = Field(
        None, description="Less memory or processors than the server allows a step."
    )
    artifacts: Artifacts | None = Field(
        None, description="Files of the workspace to keep once the commands have ended."
    )
    reports: Reports | None = Field(
        None, description="Test reports to read once the commands have ended."
    )


class Push(Value):
    """A place in a registry that an image built here goes to."""

    image: FromBuild | None = Field(
        None, description="What to push: `{from: build.docs}`. Default: the build of the same name."
    )
    to: f.Repository = Field(
        description="Registry and path without a tag: `ghcr.io/acme/web`. The login is the "
        "server's, never the file's."
    )
    tags: f.Tags | None = Field(
        None,
        description="Tags in place of the default ones; placeholders allowed. A tag whose "
        "placeholder has no value for the event is left out.",
    )
    needs: f.Needs | None = Field(None, description="As in `test`.")
    timeout: f.Seconds | None = Field(
        None,
        description="As in `test`. A registry that does not answer is tried for as long.",
    )
    retry: f.Retry = Field(
        "never",
        description="What becomes of a push in whose middle Lading itself ended, where the "
        "registry has not all of it: `never`, it is an error and a person decides; `safe`, it is "
        "pushed again.",
    )
    when: StepWhens | None = Field(None, description="As in `test`.")


class Approval(Value):
    """A person is asked before the step starts."""

    prompt: f.ShortText = Field(description="What people read beside the buttons.")
    timeout: f.Seconds = Field(
        f.MAX_TIMEOUT,
        description="How long somebody may take to answer; then the step is cancelled. "
        "Default: `7d`.",
    )


class Deploy(Value):
    """What brings what was pushed to where it is used: commands, a channel that moves, or both."""

    channel: f.Channel | None = Field(
        None,
        description="A tag like `production`, which is moved to what this run pushed, by its "
        "digest, once the commands have passed: in the repository of each push that the step "
        "waits for. A pull request moves none.",
    )
    image: AnyImage | None = Field(None, description="As in `test`.")
    commands: f.Commands | None = Field(
        None, description="As in `test`. Without `channel` there must be some."
    )
    env: dict[f.Variable, AnyText] = Field({}, description="As in `test`.")
    approval: Approval | None = Field(
        None,
        description="Ask a person before it starts. Until somebody answers, the run waits and "
        "takes no slot. Default: nobody is asked.",
    )
    needs: f.Needs | None = Field(None, description="As in `test`.")
    timeout: f.Seconds | None = Field(None, description="As in `test`.")
    when: StepWhens | None = Field(None, description="As in `test`.")
    resources: Resources | None = Field(None, description="As in `test`.")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.commands is not None:
            return self
        if self.channel is None:
            hint = "`commands: [./deploy]`, or `channel: production`"
            raise f.failed("P012", "the deploy has no `commands` and no `channel`", hint)
        for key in ("image", "env", "resources"):
            if key in self.model_fields_set:
                hint = "take it out, or add `commands`; a channel alone is moved by the server"
                raise f.failed("P060", f"`{key}` goes with `commands`", hint)
        return self


class Concurrency(Value):
    """Runs of one repository that take turns."""

    group: f.Group | None = Field(
        None,
        description="Runs of this group run one at a time, in the order they were created; "
        "placeholders allowed. Default, also where a placeholder has no value for the event: the "
        "pipeline's name with the branch, tag or pull request.",
    )
    cancel_in_progress: f.Flag = Field(
        default=False,
        description="`true`: a newer run of the group for the same branch, tag or pull request "
        "supersedes the older ones, waiting or running. Default: `false`, every run is kept.",
    )


_Builds = dict[
    f.StepName, Annotated[Build, BeforeValidator(_build, json_schema_input_type=Build | None)]
]


class Definition(Value):
    """A pipeline."""

    name: f.PipelineName = Field(
        DEFAULT_NAME,
        description="What the pipeline is called, in the status `lading/<event>/<name>` too. "
        "Default: the file's name without its ending; for `.lading.yml`, `default`.",
    )
    when: Whens = Field(
        (PipelineWhen(event=(EventKind.PUSH, EventKind.PULL_REQUEST, EventKind.TAG)),),
        description="When a run starts. Entries are alternatives; the keys of one entry must all "
        "hold. Default: on `push`, `pull_request` and `tag`. A person may start it always.",
    )
    env: dict[f.Variable, f.PlainText] = Field(
        {},
        description="Environment variables of every test step. Secrets stand in the `env` of the "
        "steps that need them.",
    )
    timeout: f.Seconds | None = Field(
        None, description="How long a run may take, like `30m`. Default: the server's."
    )
    concurrency: Concurrency | None = Field(
        None,
        description="Which runs take turns, and whether a newer one supersedes the older ones. "
        "Default: runs wait for nothing but a slot.",
    )
    build: _Builds = Field({}, description="Images to build, each under a name of its own.")
    test: dict[f.StepName, Test] = Field({}, description="Test steps, each under a name.")
    push: dict[f.StepName, Push] = Field({}, description="Places to push to, each under a name.")
    deploy: dict[f.StepName, Deploy] = Field(
        {},
        description="Places to deploy to, each under a name. Only one run of the repository "
        "deploys to a name at a time; a pull request from a fork never does.",
    )

    @property
    def inputs(self) -> dict[str, Input]:
        """What a person may say who starts it by hand."""
        return {name: each for entry in self.when for name, each in entry.inputs.items()}
