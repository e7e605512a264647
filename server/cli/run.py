"""`lading run`: a pipeline on the local container engine, with the same rooms as the server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipelines.checkout import Asked, Checkout, Happening, Tree, happening, in_tree, look_in_tree
from pipelines.choosing import Chosen, at_home
from pipelines.engine.client import Engine, reason
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.executor import EngineExecutor
from pipelines.engine.leftovers import remove_attempt
from pipelines.engine.old_caches import remove_old_caches
from pipelines.execution import execute
from pipelines.executor import OWN, Output
from pipelines.explaining import Explained, explain
from pipelines.images.retries import Backoff
from pipelines.plan import Plan, Resources, Step
from pipelines.planning import bind
from pipelines.problems import ExecutorUnavailableError, LadingError
from pipelines.progress import Fact, Progress, State, StepEnded
from pipelines.redaction import StepSecrets
from server.cli import ahead, secret_file
from server.cli.checkouts import described, known, opened, usage
from server.cli.console import Console
from server.cli.errors import UsageError
from server.cli.explain import DEFAULTS, told
from server.cli.lint import nothing_found
from server.cli.marks import HOME, Marks
from server.cli.problems import as_text
from server.cli.results import ended, forgiven, table, waited_for
from server.cli.shelves import Shelves, failures, without_artifacts
from server.cli.terminal import inert, is_terminal, paint_for, tolerant

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL, as on a server that nobody has configured."""
PARALLEL_STEPS = 4
_BACKOFF = Backoff(within=5.0)
"""Whoever sits in front of it would rather hear soon that a registry says no."""
_THREADS = 8
_CACHES_KEPT = 7 * 86400.0
"""Seconds since a step's cache was written last, as on a server that nobody has configured."""
_TICK = 0.25
_INTERRUPTED = 128 + signal.SIGINT


def run(
    wanted: Asked,
    *,
    commit: str | None,
    pipeline: str | None,
    steps: Sequence[str],
    engine: str | None,
    templates: Path | None,
    secrets: Path | None,
    artifacts: Path | None = None,
) -> int:
    """Run it; the exit code: 0 where it passed, 1 where not, 128 + the signal that ended it.

    Raises:
        UsageError: There is no checkout, no such revision, pipeline or step, or nothing to run,
            or the file of secrets cannot be read.
        EngineError: The engine does not answer.
    """
    tolerant(sys.stdout)
    values = {} if secrets is None else secret_file.read(secrets)

    def prepare(held: contextlib.ExitStack, models: Future[None]) -> _Prepared | None:
        checkout, tree = held.enter_context(opened(commit, before=ahead.ask_git))
        models.result()
        asking = happening(checkout, tree, wanted)
        one = _chosen(_explained(checkout, tree, asking, templates), pipeline)
        if one.broken or one.plan is None:
            _tell_problems(one, in_tree(tree).files)
            return None
        with usage():
            chosen = at_home(one.plan, steps)
        if not chosen.plan.steps:
            raise UsageError(_nothing(one, chosen))
        if secrets is not None:
            for warning in secret_file.warnings(secrets, values, checkout):
                print(f"lading: {inert(warning)}", file=sys.stderr)
        return _Prepared(
            checkout=checkout,
            tree=tree,
            asking=asking,
            one=one,
            chosen=chosen,
            secrets=secret_file.for_steps(chosen.plan, values, secrets),
            unprovided=() if secrets is not None else tuple(secret_file.without(chosen.plan)),
        )

    try:
        return asyncio.run(_run(prepare, engine, artifacts))
    except KeyboardInterrupt:
        return _INTERRUPTED


class EngineError(LadingError):
    """There is no engine to run on; the message says how to name one."""


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Everything there is to know before the engine is needed."""

    checkout: Checkout
    tree: Tree
    asking: Happening
    one: Explained
    chosen: Chosen
    secrets: StepSecrets
    unprovided: tuple[str, ...]
    """What runs without secrets that it names, in words."""


_Prepare = Callable[[contextlib.ExitStack, Future[None]], _Prepared | None]


async def _run(prepare: _Prepare, url: str | None, artifacts: Path | None) -> int:
    """Prepare while the engine is being reached, then run."""
    with (
        contextlib.ExitStack() as held,
        ThreadPoolExecutor(_THREADS, thread_name_prefix="engine") as threads,
        contextlib.closing(Engine(url, threads)) as engine,
    ):
        connecting = asyncio.create_task(_connected(engine))
        # Wrong use is told first, and then nobody asks what became of the engine.
        connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
        models = threads.submit(ahead.build_models)
        prepared = await asyncio.to_thread(prepare, held, models)
        if prepared is None:
            return 1
        await connecting
        return await _Local(engine, prepared, artifacts).run()


async def _connected(engine: Engine) -> None:
    try:
        await engine.connected()
    except ExecutorUnavailableError as error:
        why = f" ({reason(error.__cause__)})" if isinstance(error.__cause__, Exception) else ""
        raise EngineError(
            f"no container engine answers at {engine.url or 'its usual socket'}{why}: start "
            "Docker or Podman, or name an engine with --engine or DOCKER_HOST"
        ) from error


def _explained(
    checkout: Checkout, tree: Tree, asking: Happening, templates: Path | None
) -> tuple[Explained, ...]:
    found = in_tree(tree)
    if not found.files and not found.unreadable:
        raise UsageError(nothing_found(checkout.root))
    return explain(
        found.files,
        found.unreadable,
        asking.event,
        changed=asking.changed,
        committed_at=tree.committed_at,
        defaults=DEFAULTS,
        templates=known(templates),
        look=partial(look_in_tree, tree),
    )


def _chosen(explained: Sequence[Explained], wanted: str | None) -> Explained:
    """The pipeline that is meant, by its name or its file's."""
    names = ", ".join(each.name for each in explained)
    if wanted is None and len(explained) > 1:
        raise UsageError(f"there are several pipelines: choose one with --pipeline ({names})")
    for each in explained:
        if wanted in (None, each.name, each.file):
            return each
    raise UsageError(f"--pipeline: there is no '{wanted}' (there are {names})")


def _nothing(one: Explained, chosen: Chosen) -> str:
    why = {**(one.plan.left_out if one.plan else {}), **chosen.not_run}
    told_of = (f"{key}: {text.removeprefix('left out: ')}" for key, text in why.items())
    return "nothing to run: " + "; ".join(told_of)


def _tell_problems(one: Explained, files: Mapping[str, bytes]) -> None:
    tolerant(sys.stderr)
    paint = paint_for(sys.stderr)
    for line in as_text(one.problems, files, paint):
        print(line, file=sys.stderr)
    if not one.problems:
        print(f"lading: {one.file} cannot be planned for this event", file=sys.stderr)


class _Local:
    """One run at home."""

    def __init__(self, engine: Engine, prepared: _Prepared, artifacts: Path | None) -> None:
        self._engine = engine
        self._prepared = prepared
        self._not_run = prepared.chosen.not_run
        self._paint = paint_for(sys.stdout)
        self._words: dict[str, str] = {}
        self._signal: int | None = None
        self._cancelled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        plan, self._limits = _bounded(bind(prepared.chosen.plan, run=0, attempt=1))
        self._shelves, self._not_kept = Shelves(artifacts), dict[str, str]()
        if artifacts is None:
            plan, self._not_kept = without_artifacts(plan)
        self._progress = Progress.of(plan)
        self._console = Console(
            sys.stdout.buffer,
            [step.key for step in plan.steps],
            paint=self._paint,
            live=is_terminal(sys.stdout),
            gone=self._unread,
        )

    async def run(self) -> int:
        """Run it on the engine, and tell the result."""
        self._introduce()
        marks = Marks()
        repository = self._prepared.checkout.name
        with marks.alive() as name:
            attempt = Attempt(server=marks.server, run=name, attempt=1, repository=repository)
            tidying = asyncio.create_task(_tidy(self._engine, marks, repository))
            ticking = asyncio.create_task(self._tick())
            try:
                with self._signals(attempt):
                    await self._execute(attempt)
                    await tidying
            finally:
                ticking.cancel()
        return self._code()

    def _introduce(self) -> None:
        """Say what runs, of which files, and what does not."""
        one, event = self._prepared.one, told(self._prepared.asking.event)
        name = self._paint.bold(f"pipeline {inert(one.name)}")
        self._console.say(f"{name} of {described(self._prepared.tree)}, as for a {event}")
        if not one.start:
            why = inert(one.reason.removeprefix("No run: "))
            what = event.partition(" ")[0]
            self._console.say(self._paint.dim(f"  such a {what} would not start it: {why}"))
        left_out = one.plan.left_out if one.plan else {}
        for key, text in {**left_out, **self._not_run}.items():
            why = inert(text.removeprefix("left out: "))
            self._console.say(self._paint.dim(f"  {inert(key)} is not run: {why}"))
        for key, paths in self._not_kept.items():
            where = "name a folder with --artifacts"
            told_of = f"  artifacts of {inert(key)} ({inert(paths)}) are not kept: {where}"
            self._console.say(self._paint.dim(told_of))
        for line in self._prepared.unprovided:
            self._console.say(self._paint.dim(f"  {inert(line)}"))

    async def _execute(self, attempt: Attempt) -> None:
        plan = self._progress.plan
        executor = EngineExecutor(
            engine=self._engine,
            attempt=attempt,
            plan=plan,
            source=self._prepared.tree.source(),
            limits=self._limits,
            logins={},
            secrets=self._prepared.secrets,
            backoff=_BACKOFF,
        )
        await execute(
            plan,
            executor,
            emit=self._emit,
            outputs=self._output,
            clock=_now,
            cancelled=self._cancelled,
            grace=GRACE,
            parallel_steps=PARALLEL_STEPS,
            shelves=self._shelves,
        )

    def _emit(self, fact: Fact) -> asyncio.Future[None]:
        """Take a fact at once; what is told is as durable as it gets."""
        self._progress = self._progress.apply(fact)
        if isinstance(fact, StepEnded):
            step = self._progress.steps[fact.step]
            may = forgiven(self._progress, fact.step)
            self._console.tell(fact.step, ended(step, self._paint, forgiven=may))
            if self._progress.state.ended:
                self._close()
        done: asyncio.Future[None] = self._loop.create_future()
        done.set_result(None)
        return done

    def _close(self) -> None:
        """The last words, before the engine is tidied up."""
        self._console.close()
        self._console.say()
        for line in table(self._progress, self._not_run, self._paint):
            self._console.say(line)
        self._console.say()
        for key, report in self._shelves.reports.items():
            told_of = list(failures(key, report, self._paint))
            for line in [*told_of, ""] if told_of else ():
                self._console.say(line)
        good = self._progress.state is State.SUCCESS
        sentence = inert(self._progress.sentence())
        self._console.say(self._paint.green(sentence) if good else self._paint.red(sentence))

    @contextlib.contextmanager
    def _output(self, key: str) -> Iterator[Output]:
        with self._console(key) as output:
            yield _Overheard(output, key, self._words)

    async def _tick(self) -> None:
        while True:
            self._console.tick(waited_for(self._progress, self._words, _now()))
            await asyncio.sleep(_TICK)

    @contextlib.contextmanager
    def _signals(self, attempt: Attempt) -> Iterator[None]:
        """Whoever wants us to end, ends the steps first; a second time, at once."""

        def asked(number: int) -> None:
            if self._signal is None:
                self._console.say(
                    f"stopping: steps have {GRACE:.0f} s; once more ends them at once"
                )
                self._stop(number)
            else:
                removing = self._engine.call(remove_attempt, self._engine.client, attempt)
                hurry.append(asyncio.ensure_future(removing))

        hurry: list[asyncio.Future[None]] = []
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, asked, number)
        try:
            yield
        finally:
            for number in numbers:
                self._loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        self._signal = number
        self._cancelled.set()

    def _unread(self) -> None:
        """Nobody reads what we print any more."""
        self._loop.call_soon_threadsafe(self._stop, signal.SIGPIPE)

    def _code(self) -> int:
        if self._signal is not None:
            return 128 + self._signal
        return 0 if self._progress.state is State.SUCCESS else 1


class _Overheard:
    """An output of which the newest line of our own is kept: what a step that prepares is at."""

    def __init__(self, output: Output, key: str, words: dict[str, str]) -> None:
        self._output = output
        self._key = key
        self._words = words

    @property
    def full(self) -> bool:
        """See `Output.full`."""
        return self._output.full

    def write(self, stream: int, data: bytes) -> None:
        """See `Output.write`."""
        if stream == OWN:
            lines = data.decode(errors="replace").split("\n")
            self._words[self._key] = inert(next((line for line in reversed(lines) if line), ""))
        self._output.write(stream, data)


async def _tidy(engine: Engine, marks: Marks, repository: str) -> None:
    """Remove what runs left that were killed, and caches of steps that nobody wrote lately."""
    for name in marks.dead():
        attempt = Attempt(server=marks.server, run=name, attempt=1, repository=repository)
        await engine.call(remove_attempt, engine.client, attempt)
        marks.forget(name)
    before = time.time() - _CACHES_KEPT
    await engine.call(remove_old_caches, engine.client, HOME, before=before)


def _bounded(plan: Plan) -> tuple[Plan, Limits]:
    """The plan with a server's usual bounds where a step asks for none; who asks gets it all."""
    usual = Limits()
    steps = tuple(_with(step, usual) for step in plan.steps)
    most = Limits(
        memory=max([usual.memory, *(step.resources.memory or 0 for step in steps)]),
        cpus=max([usual.cpus, *(step.resources.cpus or 0.0 for step in steps)]),
    )
    return plan.model_copy(update={"steps": steps}), most


def _with(step: Step, usual: Limits) -> Step:
    asked = step.resources
    resources = Resources(memory=asked.memory or usual.memory, cpus=asked.cpus or usual.cpus)
    return step.model_copy(update={"resources": resources})


def _now() -> datetime:
    return datetime.now(UTC)
