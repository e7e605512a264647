"""A commit, an engine and executors for the tests of the container engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from pipelines.engine.client import Engine
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.executor import EngineExecutor
from pipelines.engine.interruption import Patience
from pipelines.execution import execute
from pipelines.images.exact.shelf import Shelf
from pipelines.images.retries import Backoff
from pipelines.plan import Plan, Step
from pipelines.progress import Fact, Outcome, Progress
from pipelines.redaction import StepSecrets
from pipelines.registries.logins import Login
from pipelines.source import GitSource
from pipelines.testing import MemoryOutputs, MemoryShelves

T = TypeVar("T")

LIMITS = Limits(memory=64 * 2**20, cpus=1.0, pids=64)
QUICK = Backoff(first=0.05, longest=0.1, within=0.5)
_RUNS = count(1)


def commit(folder: Path, files: Mapping[str, str | bytes]) -> GitSource:
    """A repository with one commit of these files; a name that ends in `*` is executable."""
    for name, content in files.items():
        path = folder / name.removesuffix("*")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o755 if name.endswith("*") else 0o644)
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all", "--force")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return GitSource(folder / ".git", _git(folder, "rev-parse", "HEAD"))


def later(folder: Path, files: Mapping[str, str]) -> GitSource:
    """One more commit in a repository that `commit` made, a day later."""
    for name, content in files.items():
        (folder / name).write_text(content)
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "next", at="2026-01-03T03:04:05Z")
    return GitSource(folder / ".git", _git(folder, "rev-parse", "HEAD"))


def _git(folder: Path, *arguments: str, at: str = "2026-01-02T03:04:05Z") -> str:
    identity = {
        f"GIT_{who}_{what}": "a@b.c"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    dates = {"GIT_COMMITTER_DATE": at}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | identity | dates,
    ).stdout.strip()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something outside has come true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (nothing outside can set an event)
            await asyncio.sleep(0.01)


async def nothing() -> None:
    """A fact that is durable at once."""


@dataclass(kw_only=True)
class Bench:
    """Makes executors of one engine; closed by `bench`."""

    engine: Engine
    server: str
    source: GitSource
    logins: dict[str, Login] = field(default_factory=dict)
    limits: Limits = LIMITS
    shelf: Shelf | None = None
    patience: Patience = field(default_factory=Patience)
    secrets: StepSecrets = field(default_factory=StepSecrets)
    facts: list[Fact] = field(default_factory=list)
    outputs: MemoryOutputs = field(default_factory=MemoryOutputs)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    shelves: MemoryShelves | None = None

    def executor(self, plan: Plan, attempt: Attempt | None = None) -> EngineExecutor:
        """An executor for a new attempt, or for one that another executor began."""
        return EngineExecutor(
            engine=self.engine,
            attempt=attempt
            or Attempt(server=self.server, run=str(next(_RUNS)), attempt=1, repository="Acme/Web"),
            plan=plan,
            source=self.source,
            limits=self.limits,
            logins=self.logins,
            secrets=self.secrets,
            backoff=QUICK,
            patience=self.patience,
            shelf=self.shelf,
        )

    async def run(
        self, plan: Plan, *, attempt: Attempt | None = None, earlier: Progress | None = None
    ) -> Progress:
        """Walk the plan to its end, perhaps from where another executor left it."""
        self.cancelled = asyncio.Event()  # for this run's own event loop

        def emit(fact: Fact) -> Coroutine[Any, Any, None]:
            self.facts.append(fact)
            return nothing()

        return await execute(
            plan,
            self.executor(plan, attempt),
            emit=emit,
            outputs=self.outputs,
            clock=lambda: datetime.now(UTC),
            cancelled=self.cancelled,
            grace=1.0,
            parallel_steps=4,
            earlier=earlier,
            shelves=self.shelves,
        )

    async def outcomes(self, plan: Plan) -> dict[str, Outcome]:
        """How each step of the plan ends."""
        progress = await self.run(plan)
        return {key: step.outcome for key, step in progress.steps.items() if step.outcome}

    async def outcome(self, step: Step) -> Outcome:
        """How a step alone ends."""
        plan = Plan(pipeline="web", steps=(step,), timeout=60)
        return (await self.outcomes(plan))[step.key]

    def left(self) -> list[str]:
        """Names of everything of this server that is on the engine."""
        filters = {"label": f"lading.server={self.server}"}
        client = self.engine.client
        containers = client.containers(all=True, filters=filters)
        volumes = client.volumes(filters=filters)["Volumes"] or []
        networks = client.networks(filters=filters)
        names = [c["Names"][0] for c in containers] + [v["Name"] for v in volumes]
        return names + [network["Name"] for network in networks]

    async def until(self, key: str, text: str) -> None:
        """Wait until a step has written the text."""
        await until(lambda: key in self.outputs.steps and text in self.outputs.text(key))


@contextmanager
def engine_at(url: str) -> Iterator[Engine]:
    """An engine for one event loop."""
    with ThreadPoolExecutor(8) as threads:
        engine = Engine(url, threads)
        try:
            yield engine
        finally:
            engine.close()


def run(work: Coroutine[Any, Any, T], *, seconds: float = 60) -> T:
    """Run it to its end, but no longer than that."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(bounded())
