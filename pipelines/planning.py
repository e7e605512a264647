"""A matched definition and its event to a plan: steps, their order, environment, names and labels.

Nothing from git is put into a shell text: it reaches steps as environment variables, and image
names and tags only through a slug.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from pipelines import besides, inputs, placeholders, references
from pipelines.definition.fields import End
from pipelines.definition.models import (
    Build,
    Definition,
    Deploy,
    FromBuild,
    Push,
    StepWhen,
    Templated,
    Test,
)
from pipelines.durations import format_size
from pipelines.events import Event, EventKind
from pipelines.matching import Changed, ends, left_out
from pipelines.ordering import Order, Place, behind
from pipelines.plan import (
    Approval,
    BuildWork,
    BuiltImageRef,
    Channel,
    CommandsWork,
    Group,
    ImageRef,
    Keeps,
    NamedImage,
    NoWork,
    Plan,
    PushWork,
    Resources,
    Stage,
    Step,
    Work,
)
from pipelines.problems import DefinitionInvalidError, Problem
from pipelines.recipes import Rendered
from pipelines.tagging import branch_slug, default_tags, tag_slug, version_tags
from pipelines.values import Value

MAX_VALUE = 4096
"""Characters of a text from git in the environment; one long commit message may stop no step."""

_LABEL = "org.opencontainers.image."
_FORK = "left out: {what} never pushes; it runs again, and pushes, once merged"
_FORK_DEPLOYS = "left out: {what} never deploys"
_PULL_MOVES = "left out: a pull request moves no channel"
_NOTHING_PUSHED = "left out: nothing is pushed here that {channel} could lead to"
_NO_TAG = "left out: none of its tags has a value for this {kind}; give it other `tags` or a `when`"

VARIABLES: dict[str, str] = {
    "CI": "`true`",
    "CI_EVENT": "what happened: `push`, `pull_request`, `tag`, `schedule` or `manual`",
    "CI_REPO": "the repository, `owner/name`",
    "CI_PIPELINE": "the pipeline's name",
    "CI_STAGE": "the stage",
    "CI_STEP": "the step's name",
    "CI_INPUT_<NAME>": "the value of each of the pipeline's `inputs` that has one",
    "CI_MATRIX_<KEY>": "the value of each key of the step's `matrix`",
    "CI_RUN": "the run's number",
    "CI_ATTEMPT": "the attempt's number, from 1",
    "CI_COMMIT_SHA": "the commit, 40 digits",
    "CI_COMMIT_SHORT_SHA": "its first 12 digits",
    "CI_COMMIT_REF": "where it can be fetched: `refs/heads/main`",
    "CI_COMMIT_BRANCH": "the branch pushed to; for a pull request the branch it wants to go into",
    "CI_COMMIT_TAG": "the git tag",
    "CI_COMMIT_BEFORE": "the commit before; for a pull request the base commit",
    "CI_COMMIT_TITLE": "the first line of the message, or the pull request's title",
    "CI_COMMIT_AUTHOR": "who wrote the commit, as the commit says",
    "CI_PULL_REQUEST": "the pull request's number",
    "CI_SOURCE_BRANCH": "the branch a pull request comes from",
}
"""Every variable that steps get. One that has no value for an event is not set."""


class PlanDefaults(Value):
    """What the server says where the file says nothing."""

    timeout: float
    """Seconds for a whole attempt."""
    memory: int | None = None
    """Bytes; what a step may ask for at the most. None: nobody bounds it."""
    cpus: float | None = None
    """Processors, likewise."""


class _Variant(Value):
    """One combination of a step's matrix; a step without one has a single empty one."""

    name: str
    """The step's name, with the values behind it: `unit (15, 3.12)`."""
    values: dict[str, str]

    @property
    def placeholders(self) -> dict[str, str]:
        """What stands for its values in names."""
        return {f"{placeholders.MATRIX}{axis}": value for axis, value in self.values.items()}


def plan(
    definition: Definition,
    event: Event,
    *,
    committed_at: datetime,
    defaults: PlanDefaults,
    changed: Changed = None,
    rendered: Mapping[str, Rendered] | None = None,
) -> Plan:
    """Make a definition ready to run for an event.

    Args:
        definition: As `parsing.parse` made it, so without problems.
        event: What happened.
        committed_at: The commit's own time, aware; images carry it, and no other time.
        defaults: What holds where the file is silent.
        changed: Paths that changed, for the `when` of steps; None where that is not known.
        rendered: The Dockerfile of each build that names a template. None where the commit's files
            are not known: such a plan can be looked at, and its templates cannot be built.

    Raises:
        DefinitionInvalidError: The event gives an image a name that is none, or a step asks for
            more than the defaults allow.
        InputsInvalidError: A person gave inputs that the definition does not take.
    """
    planner = _Planner(definition, event, defaults, changed, rendered)
    return planner.plan(committed_at)


def bind(plan: Plan, *, run: int, attempt: int) -> Plan:
    """The plan of one attempt: its numbers in the environment, and in place of `${run}`."""
    steps = tuple(_bound(step, run, attempt) for step in plan.steps)
    return plan.model_copy(update={"steps": steps})


class _Planner:
    def __init__(
        self,
        definition: Definition,
        event: Event,
        defaults: PlanDefaults,
        changed: Changed,
        rendered: Mapping[str, Rendered] | None,
    ) -> None:
        self._rendered = rendered
        self._definition = definition
        self._event = event
        self._changed = changed
        self._defaults = defaults
        self._timeout = definition.timeout or defaults.timeout
        self._problems: list[Problem] = []
        given = inputs.values(definition, event)
        self._common = _variables(definition, event) | _input_variables(given)
        filled = {f"{placeholders.INPUTS}{name}": value for name, value in given.items()}
        self._raw = {**_values(event), **filled}
        self._slugs = {**_slugs(event), **filled}
        self._spread = {
            _key(Stage.TEST, name): [_key(Stage.TEST, each.name) for each in _variants(name, test)]
            for name, test in definition.test.items()
            if test.matrix is not None
        }

    def plan(self, committed_at: datetime) -> Plan:
        out = dict(self._left_out())
        places = list(self._places())
        out |= dict(self._without_push(Order(places, out).needs()))
        needs = Order(places, out).needs()
        steps = tuple(
            step.model_copy(update={"needs": needs[step.key]})
            for step in self._steps()
            if step.key not in out
        )
        steps = self._with_channels(steps)
        if self._problems:
            raise DefinitionInvalidError(self._problems)
        return Plan(
            pipeline=self._definition.name,
            steps=steps,
            timeout=self._timeout,
            group=self._group(),
            labels=_labels(self._event, committed_at),
            trusted=self._event.trusted,
            left_out=out,
        )

    def _group(self) -> Group | None:
        asked = self._definition.concurrency
        if asked is None:
            return None
        # Not "deploy-" for whatever has no branch: strangers would wait for one another.
        name = asked.group and placeholders.fill(asked.group, self._raw)
        return Group(
            name=name or f"{self._definition.name} {self._event.ref}",
            cancel_in_progress=asked.cancel_in_progress,
        )

    def _left_out(self) -> Iterator[tuple[str, str]]:
        for name, test in self._definition.test.items():
            if reason := left_out(test.when, self._event, self._changed):
                for variant in _variants(name, test):
                    yield _key(Stage.TEST, variant.name), reason
        for name, push in self._definition.push.items():
            if reason := self._push_left_out(push):
                yield _key(Stage.PUSH, name), reason
        for name, deploy in self._definition.deploy.items():
            own = left_out(deploy.when, self._event, self._changed)
            never = _FORK_DEPLOYS.format(what=self._event.stranger)
            if deploy.channel is not None and self._event.kind is EventKind.PULL_REQUEST:
                own = own or _PULL_MOVES
            if reason := own if self._event.trusted else never:
                yield _key(Stage.DEPLOY, name), reason

    def _without_push(self, needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
        """The deploys whose channel has nothing to lead to, each with the reason."""
        for name, deploy in self._definition.deploy.items():
            key = _key(Stage.DEPLOY, name)
            if deploy.channel is not None and key in needs and not _pushes_behind(needs, key):
                yield key, _NOTHING_PUSHED.format(channel=deploy.channel)

    def _with_channels(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """The steps, with what they move once they have passed."""
        needs = {step.key: step.needs for step in steps}
        by_key = {step.key: step for step in steps}

        def made(step: Step) -> Step:
            named = None
            if step.stage is Stage.DEPLOY:
                named = self._definition.deploy[step.name].channel
            if named is None:
                return step
            pushes = _pushes_behind(needs, step.key)
            self._problems.extend(_two_images(step.key, [by_key[key] for key in pushes]))
            return step.model_copy(update={"channel": Channel(name=named, pushes=pushes)})

        return tuple(made(step) for step in steps)

    def _push_left_out(self, push: Push) -> str | None:
        if not self._event.trusted:
            return _FORK.format(what=self._event.stranger)
        if reason := left_out(push.when, self._event, self._changed):
            return reason
        return None if self._tags(push) else _NO_TAG.format(kind=self._event.kind)

    def _places(self) -> Iterator[Place]:
        for name in self._definition.build:
            yield Place(key=_key(Stage.BUILD, name), stage=Stage.BUILD, needs=())
        for name, test in self._definition.test.items():
            needs, build = self._needs(test.needs), self._own_build(test)
            for variant in _variants(name, test):
                key = _key(Stage.TEST, variant.name)
                yield Place(key=key, stage=Stage.TEST, needs=needs, build=build)
        for name, push in self._definition.push.items():
            key, build = _key(Stage.PUSH, name), _push_build(name, push)
            needs = self._needs(push.needs)
            yield Place(key=key, stage=Stage.PUSH, needs=needs, build=build)
        for name, deploy in self._definition.deploy.items():
            needs, build = self._needs(deploy.needs), self._own_build(deploy)
            key = _key(Stage.DEPLOY, name)
            yield Place(key=key, stage=Stage.DEPLOY, needs=needs, build=build)

    def _needs(self, needs: Sequence[str] | None) -> tuple[str, ...] | None:
        """Needs by the keys of the plan: who needs a matrix needs all of it."""
        if needs is None:
            return None
        return tuple(key for need in needs for key in self._spread.get(need, (need,)))

    def _steps(self) -> Iterator[Step]:
        for name, build in self._definition.build.items():
            step = self._step(Stage.BUILD, name, None, self._build(name, build))
            yield step.model_copy(update={"retries": build.retry})
        for name, test in self._definition.test.items():
            for variant in _variants(name, test):
                yield self._test(variant, name, test)
        for name, push in self._definition.push.items():
            image = BuiltImageRef(build=_push_build(name, push))
            pushed = PushWork(
                image=image,
                repository=push.to,
                tags=self._tags(push),
                retry_safe=push.retry == "safe",
            )
            step = self._step(Stage.PUSH, name, push.timeout, pushed)
            yield step.model_copy(update=self._after(push.when))
        for name, deploy in self._definition.deploy.items():
            step = self._deploy(name, deploy)
            yield step.model_copy(update={"approval": _approval(deploy)})

    def _deploy(self, name: str, deploy: Deploy) -> Step:
        if deploy.commands is not None:
            return self._commands(Stage.DEPLOY, _Variant(name=name, values={}), name, deploy)
        step = self._step(Stage.DEPLOY, name, deploy.timeout, NoWork())
        return step.model_copy(update=self._after(deploy.when))

    def _build(self, name: str, build: Build) -> BuildWork:
        if isinstance(build, Templated):
            if self._rendered is None:
                return BuildWork(context=build.context, template=build.template, rendered="")
            made = self._rendered[name]
            return BuildWork(
                context=build.context,
                template=made.template,
                rendered=made.text,
                files=made.files,
                reproducible=build.reproducible,
            )
        folder = "" if build.context == "." else f"{build.context}/"
        return BuildWork(
            dockerfile=build.dockerfile or f"{folder}Dockerfile",
            context=build.context,
            target=build.target,
            args={key: self._argument(value) for key, value in build.args.items()},
            reproducible=build.reproducible,
        )

    def _test(self, variant: _Variant, name: str, test: Test) -> Step:
        written = partial(self._image_name, Stage.TEST, variant, test)
        beside = {
            "services": tuple(besides.services(test, written)),
            "cache": besides.cache(test.cache, self._event, {**self._raw, **variant.placeholders}),
            "keeps": _keeps(test, variant),
        }
        step = self._commands(Stage.TEST, variant, name, test)
        return step.model_copy(
            update={
                "work": step.work.model_copy(update=beside),
                "allow_failure": test.allow_failure,
                "retries": test.retry,
            }
        )

    def _commands(self, stage: Stage, variant: _Variant, name: str, spec: Test | Deploy) -> Step:
        """A step of commands; all that test and deploy have in common."""
        image = self._image(stage, variant, spec)
        work = CommandsWork(image=image, commands=spec.commands or ())
        step = self._step(stage, variant.name, spec.timeout, work)
        own = {"CI_STAGE": step.stage.value, "CI_STEP": name}
        own |= {f"CI_MATRIX_{axis.upper()}": value for axis, value in variant.values.items()}
        texts, secrets = besides.parted(spec.env)
        common = {k: text for k, text in self._definition.env.items() if k not in secrets}
        return step.model_copy(
            update={
                "env": common | texts | self._common | own,
                "secrets": secrets,
                "resources": self._resources(_key(stage, name), spec),
                **self._after(spec.when),
            }
        )

    def _after(self, when: Sequence[StepWhen] | None) -> dict[str, bool]:
        """After which ends of what it needs a step runs."""
        wanted = ends(when, self._event, self._changed)
        return {"after_success": End.SUCCESS in wanted, "after_failure": End.FAILURE in wanted}

    def _resources(self, key: str, spec: Test | Deploy) -> Resources:
        asked = spec.resources
        if asked is None:
            return Resources()
        most = self._defaults
        if asked.memory is not None and most.memory is not None and asked.memory > most.memory:
            wants = f"{format_size(asked.memory)} of memory"
            self._problems.append(_beyond(key, wants, format_size(most.memory)))
        if asked.cpus is not None and most.cpus is not None and asked.cpus > most.cpus:
            self._problems.append(_beyond(key, f"{asked.cpus:g} CPUs", f"{most.cpus:g}"))
        return Resources(memory=asked.memory, cpus=asked.cpus)

    def _step(self, stage: Stage, name: str, timeout: float | None, work: Work) -> Step:
        return Step(stage=stage, name=name, timeout=timeout or self._timeout, work=work)

    def _own_build(self, spec: Test | Deploy) -> str | None:
        """The key of the build whose image commands run in."""
        if spec.commands is None:
            return None
        if spec.image is None:
            return _key(Stage.BUILD, next(iter(self._definition.build)))
        return spec.image.build if isinstance(spec.image, FromBuild) else None

    def _image(self, stage: Stage, variant: _Variant, spec: Test | Deploy) -> ImageRef:
        if (build := self._own_build(spec)) is not None:
            return BuiltImageRef(build=build)
        return NamedImage(name=self._image_name(stage, variant, spec, str(spec.image)))

    def _image_name(
        self,
        stage: Stage,
        variant: _Variant,
        spec: Test | Deploy,
        written: str,
        service: str | None = None,
    ) -> str:
        image = placeholders.fill(written, {**self._slugs, **variant.placeholders})
        if image is not None and references.is_image(_numbered(image)):
            return image
        # Left-out steps have no such name because they have no need of one.
        wanted = stage is not Stage.DEPLOY or self._event.trusted
        if wanted and left_out(spec.when, self._event, self._changed) is None:
            key = _key(stage, variant.name)
            self._problems.append(_no_image(key, written, self._event, service))
        return written

    def _argument(self, text: str) -> str:
        """A build argument with its placeholders; one without a value is the empty text."""
        values = {name: value or "" for name, value in self._raw.items()}
        return placeholders.fill(text, values) or ""

    def _tags(self, push: Push) -> tuple[str, ...]:
        if push.tags is None:
            return default_tags(self._event)
        filled = (placeholders.fill(tag, self._slugs) for tag in push.tags)
        fitting = (tag for tag in filled if tag is not None and references.is_tag(_numbered(tag)))
        return tuple(dict.fromkeys(fitting))


def _variants(name: str, test: Test) -> Iterator[_Variant]:
    if test.matrix is None:
        yield _Variant(name=name, values={})
        return
    for values in itertools.product(*test.matrix.values()):
        combined = dict(zip(test.matrix, values, strict=True))
        yield _Variant(name=f"{name} ({', '.join(values)})", values=combined)


def _keeps(test: Test, variant: _Variant) -> Keeps:
    """What is kept of a step's files, with the variant's own values in the paths."""
    values = {f"{placeholders.MATRIX}{axis}": value for axis, value in variant.values.items()}

    def filled(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(placeholders.fill(path, values) or path for path in paths)

    artifacts, reports = test.artifacts, test.reports
    return Keeps(
        artifacts=filled(artifacts.paths) if artifacts else (),
        expire_in=artifacts.expire_in if artifacts else None,
        junit=filled(reports.junit) if reports else (),
    )


def _approval(deploy: Deploy) -> Approval | None:
    asked = deploy.approval
    return None if asked is None else Approval(prompt=asked.prompt, timeout=asked.timeout)


def _key(stage: Stage, name: str) -> str:
    return f"{stage}.{name}"


def _pushes_behind(needs: Mapping[str, Sequence[str]], key: str) -> tuple[str, ...]:
    """The pushes that a step waits for, by itself or by way of others."""
    waits = behind(needs, key)
    return tuple(each for each in needs if each in waits and each.startswith(f"{Stage.PUSH}."))


def _push_build(name: str, push: Push) -> str:
    return push.image.build if push.image else _key(Stage.BUILD, name)


def _numbered(text: str) -> str:
    """The text with the longest number a run may get, to see what it will be."""
    return text.replace(placeholders.RUN, "9" * 10)


def _no_image(key: str, image: str, event: Event, service: str | None) -> Problem:
    of = "" if service is None else f"'s service `{service}`"
    return Problem(
        code="P040",
        message=f"`{key}`{of} has no image for this {event.kind}: `{image}` gives no name",
        hint="give the step a `when` with the events that have a value for the placeholder",
    )


def _two_images(key: str, pushes: Sequence[Step]) -> Iterator[Problem]:
    """A problem for each repository in which it is not clear where a channel shall lead."""
    images: dict[str, set[str]] = {}
    for step in pushes:
        if isinstance(step.work, PushWork):
            images.setdefault(step.work.repository, set()).add(step.work.image.build)
    for repository, builds in images.items():
        if len(builds) > 1:
            yield Problem(
                code="P043",
                message=f"`{key}` moves a channel of {repository}, where this run pushes "
                f"{' and '.join(sorted(builds))}",
                hint="name one of the pushes in the step's `needs`",
            )


def _beyond(key: str, wanted: str, bound: str) -> Problem:
    return Problem(
        code="P055",
        message=f"`{key}` asks for {wanted}; this server allows a step {bound}",
        hint="ask for less in `resources`",
    )


def _clean(text: str) -> str:
    """A stranger's text as an environment variable can hold it."""
    return text[:MAX_VALUE].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _variables(definition: Definition, event: Event) -> dict[str, str]:
    number = event.pull_request
    found: dict[str, str | None] = {
        "CI": "true",
        "CI_EVENT": event.kind.value,
        "CI_REPO": event.repository,
        "CI_PIPELINE": definition.name,
        "CI_COMMIT_SHA": event.sha,
        "CI_COMMIT_SHORT_SHA": event.short_sha,
        "CI_COMMIT_REF": event.ref,
        "CI_COMMIT_BRANCH": event.branch,
        "CI_COMMIT_TAG": event.tag,
        "CI_COMMIT_BEFORE": event.before,
        "CI_COMMIT_TITLE": event.title,
        "CI_COMMIT_AUTHOR": event.author,
        "CI_PULL_REQUEST": None if number is None else str(number),
        "CI_SOURCE_BRANCH": event.source_branch,
    }
    return {name: _clean(value) for name, value in found.items() if value}


def _input_variables(given: Mapping[str, str | None]) -> dict[str, str]:
    return {f"CI_INPUT_{name.upper()}": _clean(value) for name, value in given.items() if value}


def _values(event: Event) -> Mapping[str, str | None]:
    """What placeholders stand for, as texts."""
    branch = None if event.kind is EventKind.PULL_REQUEST else event.branch
    return {
        "branch": None if branch is None else _clean(branch),
        "tag": None if event.tag is None else _clean(event.tag),
        "sha": event.sha,
        "short_sha": event.short_sha,
        "run": placeholders.RUN,
    }


def _slugs(event: Event) -> Mapping[str, str | None]:
    """What placeholders stand for in image names and tags."""
    raw = _values(event)
    branch, tag = raw["branch"], raw["tag"]
    return {
        **raw,
        "branch": None if branch is None else branch_slug(branch, event.default_branch),
        "tag": None if tag is None else tag_slug(tag),
    }


def _labels(event: Event, committed_at: datetime) -> dict[str, str]:
    """https://github.com/opencontainers/image-spec/blob/main/annotations.md.

    Only what the commit itself decides: a run's number would make each build another image.
    """
    created = committed_at.astimezone(UTC).isoformat(timespec="seconds")
    labels = {
        f"{_LABEL}created": created.replace("+00:00", "Z"),
        f"{_LABEL}revision": event.sha,
        f"{_LABEL}title": _clean(event.repository.rpartition("/")[2]),
    }
    if event.tag is not None:
        labels[f"{_LABEL}version"] = version_tags(event.tag)[0]
    return labels


def _bound(step: Step, run: int, attempt: int) -> Step:
    def put(text: str) -> str:
        return text.replace(placeholders.RUN, str(run))

    work = step.work
    if isinstance(work, BuildWork):
        args = {name: put(value) for name, value in work.args.items()}
        return step.model_copy(update={"work": work.model_copy(update={"args": args})})
    if isinstance(work, PushWork):
        tags = tuple(put(tag) for tag in work.tags)
        return step.model_copy(update={"work": work.model_copy(update={"tags": tags})})
    if isinstance(work, NoWork):
        return step
    if isinstance(work.image, NamedImage):
        image = NamedImage(name=put(work.image.name))
        work = work.model_copy(update={"image": image})
    if work.services:
        services = tuple(
            each.model_copy(update={"image": put(each.image)}) for each in work.services
        )
        work = work.model_copy(update={"services": services})
    env = step.env | {"CI_RUN": str(run), "CI_ATTEMPT": str(attempt)}
    return step.model_copy(update={"work": work, "env": env})
