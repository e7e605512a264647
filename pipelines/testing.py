"""An executor that does as it is told, and builders of plans: for tests, ours and yours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.executor import Output
from pipelines.plan import (
    BuildWork,
    BuiltImageRef,
    Cache,
    CommandsWork,
    Keeps,
    NamedImage,
    Plan,
    PushWork,
    Service,
    Stage,
    Step,
)
from pipelines.progress import Outcome, Progress, State
from pipelines.reports import Report
from pipelines.taking import Bounds, Take, Taken, Tally, Wanted

SUCCESS = Outcome(state=State.SUCCESS, exit_code=0)
STOPPED = Outcome(state=State.FAILURE, exit_code=143, message="exit code 143")
KILLED = Outcome(state=State.FAILURE, exit_code=137, message="exit code 137")


@dataclass(kw_only=True)
class Script:
    """What one step does on a `ScriptedExecutor`."""

    outcome: Outcome = SUCCESS
    """How it ends if nobody stops it."""
    tries: list[Outcome] = field(default_factory=list)
    """How its first tries end, each taken out once it has; then `outcome` holds."""
    writes: tuple[tuple[int, bytes], ...] = ()
    """Its output: (stream, bytes), written before it waits for `release`."""
    release: asyncio.Event | None = None
    """It ends only once this is set; None: at once."""
    stopped: Outcome = STOPPED
    """How it ends at SIGTERM."""
    deaf: bool = False
    """Whether it takes no notice of SIGTERM, and ends only at SIGKILL."""
    error: Exception | None = None
    """Raised by `run`, against the contract: for tests of what a broken executor does."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What is in the workspace, by path, once it has ended."""
    collect_error: Exception | None = None
    """Raised by `collect`."""


@dataclass(kw_only=True)
class ScriptedExecutor:
    """An executor without an engine. Steps without a script succeed at once."""

    scripts: Mapping[str, Script] = field(default_factory=dict)
    open_error: Exception | None = None
    """Raised by `open`."""
    calls: list[str] = field(default_factory=list)
    """What was asked, in order: `open`, `run test.unit`, `stop test.unit`, …, `close`."""
    found: frozenset[str] = frozenset()
    """Keys of the steps that an earlier process left running: their scripts go on."""
    gone: frozenset[str] = frozenset()
    """Keys of the builds whose image is there no more."""
    kept_images: bool | None = None
    """What `close` was told."""
    secret: str = ""
    """What must not be shown."""
    most_at_once: int = 0
    """The most steps that ran at the same time."""
    _stops: dict[str, asyncio.Future[float]] = field(default_factory=dict)

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """See `Executor.open`."""
        del earlier
        self.calls.append("open")
        if self.open_error is not None:
            raise self.open_error
        return self.gone

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`."""
        self.calls.append(f"run {step.key}")
        return await self._play(step, output, running, {})

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`."""
        self.calls.append(f"adopt {step.key}")
        if step.key not in self.found:
            return None
        return await self._play(step, output, running, dict(taken))

    async def _play(
        self, step: Step, output: Output, running: Callable[[], None], skip: dict[int, int]
    ) -> Outcome:
        script = self.scripts.get(step.key, Script())
        stop = self._stops[step.key] = asyncio.get_running_loop().create_future()
        self.most_at_once = max(self.most_at_once, len(self._stops))
        try:
            running()
            for stream, data in script.writes:
                known = min(skip.get(stream, 0), len(data))
                skip[stream] = skip.get(stream, 0) - known
                if data[known:]:
                    output.write(stream, data[known:])
            if script.error is not None:
                raise script.error
            return await self._end(script, stop)
        finally:
            del self._stops[step.key]

    async def collect(
        self, step: Step, patterns: Sequence[str], bounds: Bounds, take: Take
    ) -> Tally:
        """See `Executor.collect`."""
        self.calls.append(f"collect {step.key}")
        script, wanted = self.scripts.get(step.key, Script()), Wanted(patterns)
        if script.collect_error is not None:
            raise script.collect_error
        tally = Tally(bounds=bounds)
        for path, data in script.files.items():
            if wanted.match(path):
                taken = Taken(path=path, size=len(data))
                tally.file(taken)
                await asyncio.to_thread(take, taken, iter([data]))
        return tally

    def cleaned(self, text: str) -> str:
        """See `Executor.cleaned`."""
        return text.replace(self.secret, "*" * len(self.secret)) if self.secret else text

    async def stop(self, key: str, *, grace: float) -> None:
        """See `Executor.stop`."""
        self.calls.append(f"stop {key}")
        stop = self._stops.get(key)
        if stop is not None and not stop.done():
            stop.set_result(grace)

    async def discard(self, key: str) -> None:
        """See `Executor.discard`."""
        self.calls.append(f"discard {key}")

    async def close(self, *, keep_images: bool = False) -> None:
        """See `Executor.close`."""
        self.kept_images = keep_images
        self.calls.append("close")

    async def release(self) -> None:
        """See `Executor.release`."""
        self.calls.append("release")

    @staticmethod
    async def _end(script: Script, stop: asyncio.Future[float]) -> Outcome:
        if script.tries:
            return script.tries.pop(0)
        if script.release is None:
            return script.outcome
        release = asyncio.ensure_future(script.release.wait())
        try:
            either: set[asyncio.Future[Any]] = {release, stop}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if release.done():
                return script.outcome
            if not script.deaf:
                return script.stopped
            await asyncio.wait({release}, timeout=stop.result())
            return script.outcome if release.done() else KILLED
        finally:
            release.cancel()


class MemoryOutput:
    """Keeps a step's output in memory."""

    def __init__(self, *, full: bool = False) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.full = full

    def write(self, stream: int, data: bytes) -> None:
        """Keep it."""
        self.writes.append((stream, data))

    def of(self, stream: int) -> bytes:
        """All bytes of one stream."""
        return b"".join(data for written, data in self.writes if written == stream)

    @property
    def text(self) -> str:
        """All of it, both streams, as text."""
        return b"".join(data for _, data in self.writes).decode(errors="replace")


class MemoryOutputs:
    """Opens a `MemoryOutput` for each step."""

    def __init__(self) -> None:
        self.steps: dict[str, MemoryOutput] = {}

    @contextlib.contextmanager
    def __call__(self, key: str) -> Iterator[MemoryOutput]:
        """The place for one step's output."""
        output = self.steps[key] = MemoryOutput()
        yield output

    def text(self, key: str) -> str:
        """Everything that step wrote, as text."""
        return self.steps[key].text


class MemoryShelf:
    """Keeps a step's files in memory."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.reported: Report | None = None
        self.files: dict[str, bytes] = {}
        """What was kept."""
        self._added: dict[str, bytes] = {}

    def add(self, file: Taken, pieces: Iterator[bytes]) -> None:
        """See `Shelf.add`."""
        self._added[file.path] = b"".join(pieces)

    def report(self, report: Report) -> None:
        """See `Shelf.report`."""
        self.reported = report

    def keep(self) -> int:
        """See `Shelf.keep`."""
        self.files = self._added
        return sum(map(len, self.files.values()))


class MemoryShelves:
    """Opens a `MemoryShelf` for each step."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.steps: dict[str, MemoryShelf] = {}
        self._bounds = bounds or Bounds(size=2**20, files=100)

    @contextlib.asynccontextmanager
    async def __call__(self, key: str) -> AsyncIterator[MemoryShelf]:
        """The place for one step's files."""
        shelf = self.steps[key] = MemoryShelf(self._bounds)
        yield shelf


def commands_step(
    name: str,
    *commands: str,
    image: str = "busybox",
    needs: tuple[str, ...] = (),
    timeout: float = 60,
    env: dict[str, str] | None = None,
    retries: int = 0,
    services: tuple[Service, ...] = (),
    cache: Cache | None = None,
    keeps: Keeps | None = None,
) -> Step:
    """A step of the stage `test` that runs commands; `image` may be `build.x`."""
    built = image.startswith("build.")
    work = CommandsWork(
        image=BuiltImageRef(build=image) if built else NamedImage(name=image),
        commands=commands or ("true",),
        services=services,
        cache=cache,
        keeps=keeps or Keeps(),
    )
    return Step(
        stage=Stage.TEST,
        name=name,
        needs=needs,
        timeout=timeout,
        env=env or {},
        retries=retries,
        work=work,
    )


def build_step(
    name: str = "web",
    *,
    needs: tuple[str, ...] = (),
    timeout: float = 60,
    work: BuildWork | None = None,
) -> Step:
    """A step of the stage `build`."""
    return Step(
        stage=Stage.BUILD, name=name, needs=needs, timeout=timeout, work=work or BuildWork()
    )


def push_step(
    repository: str,
    *tags: str,
    name: str = "web",
    needs: tuple[str, ...] = (),
    timeout: float = 60,
    retry_safe: bool = False,
) -> Step:
    """A step of the stage `push`, for the build of the same name."""
    work = PushWork(
        image=BuiltImageRef(build=f"build.{name}"),
        repository=repository,
        tags=tags or ("latest",),
        retry_safe=retry_safe,
    )
    return Step(stage=Stage.PUSH, name=name, needs=needs, timeout=timeout, work=work)


def plan_of(*steps: Step, timeout: float = 600, labels: dict[str, str] | None = None) -> Plan:
    """A plan of these steps."""
    return Plan(pipeline="web", steps=steps, timeout=timeout, labels=labels or {})
