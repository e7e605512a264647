"""Rows to test with, made through the store's own verbs."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.answers import Answer
from pipelines.events import Event, EventKind
from pipelines.plan import (
    Approval,
    BuildWork,
    BuiltImageRef,
    CommandsWork,
    NamedImage,
    Plan,
    PushWork,
    Stage,
    Step,
)
from pipelines.problems import Problem
from pipelines.progress import (
    Kept,
    Outcome,
    Pushed,
    State,
    StepEnded,
    StepReady,
    StepRunning,
    StepStarted,
    Tests,
)
from pipelines.reports import Report
from pipelines.taking import Taken
from server.actions import Actions, ConflictError, NotFoundError
from server.artifacts import ArtifactStore
from server.auth import make_token, token_hash
from server.disks import Disk
from server.dockerfiles import Dockerfiles
from server.hosts.port import RepositoryRef, StatusState
from server.logs import LogStore
from server.mirrors import Mirrors
from server.notices import Board
from server.operations import Operations
from server.registries import Registries
from server.releases import Releases
from server.secrets import Secrets
from server.store import (
    Database,
    approvals,
    deliveries,
    images,
    repositories,
    runs,
    statuses,
    tokens,
)
from server.store import kept as kept_verbs
from server.store.database import sqlite_url
from server.store.migrations import run as upgrade
from server.store.rows import (
    DecisionOutcome,
    DecisionRow,
    DeliveryRow,
    NewDelivery,
    NewRun,
    PipelineDecision,
    RepositoryRow,
    RunRow,
)
from server.vault import Vault

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHA = "0123456789abcdef0123456789abcdef01234567"
DEFINITION = "build:\n  web: {}\ntest:\n  unit:\n    commands: [pytest -q]\n"


def event(**changes: object) -> Event:
    """A push to main."""
    fields: dict[str, object] = {
        "kind": EventKind.PUSH,
        "repository": "acme/web",
        "sha": SHA,
        "ref": "refs/heads/main",
        "branch": "main",
        "default_branch": "main",
        "title": "Make it shine",
        "author": "Ada",
        "actor": "ada",
    }
    return Event.model_validate({**fields, **changes})


def templated() -> Plan:
    """A build of a template, and one of a Dockerfile."""
    text = "FROM x\nRUN <b>\n"
    works = {
        "web": BuildWork(template="plain", rendered=text),
        "docs": BuildWork(dockerfile="docs/Dockerfile"),
    }
    steps = (
        Step(stage=Stage.BUILD, name=name, timeout=600, work=work) for name, work in works.items()
    )
    return Plan(pipeline="web", timeout=3600, steps=tuple(steps))


def plan() -> Plan:
    """A build, a test in what it built, and a push."""
    built = BuiltImageRef(build="build.web")
    return Plan(
        pipeline="web",
        timeout=3600,
        steps=(
            Step(stage=Stage.BUILD, name="web", timeout=600, work=BuildWork()),
            Step(
                stage=Stage.TEST,
                name="unit",
                needs=("build.web",),
                timeout=600,
                work=CommandsWork(image=NamedImage(name="busybox"), commands=("true",)),
            ),
            Step(
                stage=Stage.PUSH,
                name="web",
                needs=("build.web", "test.unit"),
                timeout=600,
                work=PushWork(image=built, repository="registry.test/web", tags=("main",)),
            ),
        ),
    )


def deploy_plan(*names: str) -> Plan:
    """A test, and deploys behind it that ask for approval."""
    image = NamedImage(name="busybox")
    work = CommandsWork(image=image, commands=("true",))
    return Plan(
        pipeline="web",
        timeout=3600,
        steps=(
            Step(stage=Stage.TEST, name="unit", timeout=60, work=work),
            *(
                Step(
                    stage=Stage.DEPLOY,
                    name=name,
                    needs=("test.unit",),
                    timeout=60,
                    approval=Approval(prompt=f"Ship {name}?", timeout=3600),
                    work=work,
                )
                for name in names or ("live",)
            ),
        ),
    )


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> datetime:
        """Move it."""
        self.at += timedelta(**by)
        return self.at


class NoStarter:
    """Knows one repository, and starts nothing new in it."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def start(
        self,
        *,
        repository: str,
        ref: str,
        by: str,
        host: str | None,
        pipeline: str | None,
        inputs: Mapping[str, str],
    ) -> DecisionRow:
        """A decision that nothing matched."""
        if repository != "acme/web":
            raise NotFoundError(f"there is no repository {repository!r}")
        given = f" with {sorted(inputs)}" if inputs else ""
        reason = (
            f"{by} asked for {pipeline or 'everything'} at {ref} of {host or 'any host'}{given}"
        )
        number = self._house.database.run(
            deliveries.add_decision,
            delivery=None,
            repository=self._house.repository().id,
            event=None,
            event_key=None,
            outcome=DecisionOutcome.NOTHING,
            reason=reason,
            at=self._house.clock(),
        )
        row = self._house.database.run(deliveries.decision, number)
        assert row is not None
        return row

    async def reread(self, run: RunRow, *, by: str) -> int:  # noqa: ARG002
        """The commit still cannot be read."""
        raise ConflictError("the commit still cannot be read")


class EngineDouble:
    """Answers whether the engine can be used, as it is told to."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def __call__(self) -> None:
        """Answer, or raise what it was given."""
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault


@functools.cache
def _empty_database() -> bytes:
    """A database with all tables and no rows; migrating anew for each test would take longer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lading.db"
        upgrade(sqlite_url(path))
        return path.read_bytes()


class House:
    """A server's rows and logs in one folder, without the server."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lading.db"
        path.write_bytes(_empty_database())
        url = sqlite_url(path)
        self.clock = Clock()
        self.database = Database(url)
        self.logs = LogStore(folder / "logs", limit=64 * 1024 * 1024)
        self.artifacts = ArtifactStore(folder / "artifacts", limit=2**24, room=2**30)
        self.stopping = asyncio.Event()
        self.delivery_ids = deliveries.DeliveryIds(None)
        self.data = folder
        self.board = Board()
        self.engine = EngineDouble()
        self.disks: list[Disk] = []
        self.operations = Operations(
            database=self.database,
            engine_answers=self.engine,
            board=self.board,
            disks=lambda: self.disks,
            data=folder,
            clock=self.clock,
        )
        self.secrets = Secrets(
            database=self.database, vault=Vault(folder / "secrets.key"), clock=self.clock
        )
        self.registries = Registries(
            database=self.database,
            vault=Vault(folder / "secrets.key"),
            clock=self.clock,
            settings={},
            private=("127.0.0.0/8",),
        )
        self.releases = Releases(
            database=self.database, registries=self.registries, clock=self.clock
        )
        self.mirrors = Mirrors(folder / "mirrors")
        self.dockerfiles = Dockerfiles(self.database, self.mirrors)
        self.interrupted: list[tuple[int, int]] = []
        self.answered: list[tuple[int, int, dict[str, Answer]]] = []
        self.woken = 0
        self.actions = Actions(
            database=self.database,
            clock=self.clock,
            starter=NoStarter(self),
            wake=self._wake,
            interrupt=lambda run, attempt: self.interrupted.append((run, attempt)),
            tell=lambda: None,
            run_url=lambda run: f"http://lading.test/runs/{run}",
            answered=lambda *said: self.answered.append((said[0], said[1], dict(said[2]))),
        )

    def close(self) -> None:
        """Let go of the database."""
        self.releases.close()
        self.registries.close()
        self.database.close()

    def token(self, name: str = "ada", *, expires_at: datetime | None = None) -> str:
        """A new token's text."""
        text = make_token()
        self.database.run(
            tokens.add_token,
            name=name,
            token_hash=token_hash(text),
            at=self.clock(),
            expires_at=expires_at,
        )
        return text

    def repository(self, name: str = "acme/web", host: str = "forge") -> RepositoryRow:
        """A repository."""
        ref = RepositoryRef(external_id=name, full_name=name, default_branch="main")
        return self.database.run(
            repositories.remember_repository, host=host, ref=ref, at=self.clock()
        )

    def delivery(self, delivery_id: str = "d-1", **changes: object) -> DeliveryRow:
        """A delivery that waits."""
        fields: dict[str, object] = {
            "id": self.delivery_ids.new(),
            "host": "forge",
            "delivery_id": delivery_id,
            "event_type": "push",
            "headers": {"x-gitlab-token": "hunter2", "x-github-event": "push"},
            "body": b'{"ref": "refs/heads/main"}',
            "received_at": self.clock(),
        }
        new = NewDelivery.model_validate({**fields, **changes})
        self.database.run(deliveries.add_deliveries, [new])
        row = self.database.run(deliveries.delivery, new.id)
        assert row is not None
        return row

    def nothing(self, delivery: DeliveryRow, reason: str) -> None:
        """Decide that a delivery starts nothing."""
        self.database.run(
            deliveries.add_decision,
            delivery=delivery.id,
            repository=self.repository().id,
            event=event(branch="dev", ref="refs/heads/dev"),
            event_key=None,
            outcome=DecisionOutcome.NOTHING,
            reason=reason,
            pipelines=[
                PipelineDecision(
                    pipeline="web", file=".lading.yml", start=False, reason=reason, conditions=()
                )
            ],
            at=self.clock(),
        )

    def run(
        self,
        *,
        happening: Event | None = None,
        of: Plan | None = None,
        problems: Sequence[Problem] = (),
        delivery: DeliveryRow | None = None,
        definition: str = DEFINITION,
        stranger: str | None = None,
        new: NewRun | None = None,
    ) -> RunRow:
        """A run that waits; with problems one that ended in error, a stranger's that is held."""
        happening = happening or event()
        repository = self.repository(happening.repository)
        decision = self.database.run(
            deliveries.add_decision,
            delivery=None if delivery is None else delivery.id,
            repository=repository.id,
            event=happening,
            event_key=None,
            outcome=DecisionOutcome.STARTED,
            reason="1 pipeline started",
            at=self.clock(),
        )
        new = new or NewRun(
            pipeline="web",
            file=".lading.yml",
            definition=definition,
            plan=None if problems else of or plan(),
            problems=tuple(problems),
            sentence=problems[0].message if problems else "",
        )
        number = self.database.run(
            runs.add_run,
            repository=repository.id,
            decision=decision,
            event=happening,
            new=new,
            at=self.clock(),
            stranger=stranger,
        )
        self.database.run(
            deliveries.set_decision_pipelines,
            decision,
            [
                PipelineDecision(
                    pipeline="web", file=".lading.yml", start=True, reason="matches", run=number
                )
            ],
        )
        return self.fresh(number)

    def unreadable(self) -> RunRow:
        """A run whose commit could not be read."""
        repository = self.repository()
        decision = self.database.run(
            deliveries.add_decision,
            delivery=None,
            repository=repository.id,
            event=event(),
            event_key=None,
            outcome=DecisionOutcome.INVALID,
            reason="the git host cannot be reached",
            at=self.clock(),
        )
        number = self.database.run(
            runs.add_run,
            repository=repository.id,
            decision=decision,
            event=event(),
            new=NewRun(
                pipeline="default",
                file="",
                definition="",
                plan=None,
                sentence="the git host cannot be reached",
            ),
            at=self.clock(),
        )
        return self.fresh(number)

    def fresh(self, number: int) -> RunRow:
        """A run as it stands now."""
        row = self.database.run(runs.run, number)
        assert row is not None
        return row

    def take(self) -> None:
        """Let the oldest waiting attempt begin."""
        self.database.run(runs.claim_attempt, at=self.clock())

    def begin(self, run: int, key: str, *, attempt: int = 1) -> None:
        """A step is ready, prepares for two seconds, and runs."""
        facts = (
            StepReady(step=key, at=self.clock()),
            StepStarted(step=key, at=self.clock.forward(seconds=1)),
            StepRunning(step=key, at=self.clock.forward(seconds=2)),
        )
        self.database.run(runs.record_facts, run, attempt, facts)

    def end(
        self,
        run: int,
        key: str,
        state: State = State.SUCCESS,
        *,
        attempt: int = 1,
        exit_code: int | None = 0,
        message: str = "",
    ) -> None:
        """A step ends twelve seconds later."""
        pushed = None
        if key.startswith("push.") and state is State.SUCCESS:
            pushed = Pushed(
                repository="registry.test/web",
                digest=f"sha256:{'ab' * 32}",
                size=1234,
                tags=("main", "sha-0123456789ab"),
            )
        outcome = Outcome(state=state, exit_code=exit_code, message=message, pushed=pushed)
        fact = StepEnded(step=key, at=self.clock.forward(seconds=12), outcome=outcome)
        self.database.run(runs.record_facts, run, attempt, [fact])
        if pushed is not None:
            self.database.run(
                images.add_image_version,
                run=self.fresh(run),
                attempt=attempt,
                step=key,
                pushed=pushed,
                at=self.clock(),
            )

    def keep(
        self,
        run: int,
        key: str = "test.unit",
        *,
        attempt: int = 1,
        files: dict[str, bytes] | None = None,
        report: Report | None = None,
        notes: tuple[str, ...] = (),
        expire_in: float = 3600.0,
    ) -> None:
        """A step's files are kept, and what its tests reported."""
        files = files or {}
        with self.artifacts.shelf(run, attempt, key, used=0) as shelf:
            for path, data in files.items():
                shelf.add(Taken(path=path, size=len(data)), iter([data]))
            if report is not None:
                shelf.report(report)
            stored = shelf.keep() if files else 0
        counts = None if report is None else Tests(total=report.total, failed=report.failed)
        size = sum(map(len, files.values()))
        self.database.run(
            kept_verbs.record_kept,
            kept_verbs.Place(run=run, attempt=attempt, step=key),
            Kept(files=len(files), size=size, stored=stored, tests=counts, notes=notes),
            at=self.clock(),
            expires_at=self.clock() + timedelta(seconds=expire_in),
        )

    def finish(self, run: int, state: State, sentence: str, *, attempt: int = 1) -> None:
        """The attempt ends."""
        self.database.run(
            runs.end_attempt, run, attempt, state=state, sentence=sentence, at=self.clock()
        )

    def write(self, run: int, key: str, data: bytes, *, attempt: int = 1) -> None:
        """Output of a step, and its end."""
        writer = self.logs.open(run, attempt, key)
        writer.write(1, data)
        writer.close()
        self.logs.end(run, attempt, key)

    def asking(self, *names: str) -> RunRow:
        """A run of which all that is left are deploys that wait for approval."""
        made = deploy_plan(*names)
        run = self.run(of=made)
        self.take()
        self.begin(run.id, "test.unit")
        self.end(run.id, "test.unit")
        for step in made.steps[1:]:
            self.database.run(
                runs.record_facts, run.id, 1, [StepReady(step=step.key, at=self.clock())]
            )
            self.database.run(approvals.ask, run, 1, step, self.clock())
        url = f"http://lading.test/runs/{run.id}"
        self.database.run(approvals.park, run, 1, url=url, at=self.clock())
        return self.fresh(run.id)

    def succeeded(self) -> RunRow:
        """A run all of whose steps passed."""
        run = self.run().id
        self.take()
        for key in ("build.web", "test.unit", "push.web"):
            self.begin(run, key)
            self.write(run, key, f"output of {key}\n".encode())
            self.end(run, key)
        self.finish(run, State.SUCCESS, "3 steps passed in 45 s")
        self.database.run(
            statuses.want_status,
            run=self.fresh(run),
            attempt=1,
            state=StatusState.SUCCESS,
            description="3 steps passed in 45 s",
            target_url=f"http://lading.test/runs/{run}",
            at=self.clock(),
        )
        return self.fresh(run)

    def failed(self, output: bytes = b"E   assert 1 == 2\n") -> RunRow:
        """A run whose test failed."""
        run = self.run().id
        self.take()
        self.begin(run, "build.web")
        self.write(run, "build.web", b"step 1/3\nstep 2/3\nstep 3/3\n")
        self.end(run, "build.web")
        self.begin(run, "test.unit")
        self.write(run, "test.unit", output)
        message = "exit code 1: a command failed; its last lines say why"
        self.end(run, "test.unit", State.FAILURE, exit_code=1, message=message)
        self.end(
            run, "push.web", State.SKIPPED, exit_code=None, message="skipped: test.unit failed"
        )
        self.finish(run, State.FAILURE, "test.unit failed: exit code 1")
        return self.fresh(run)

    def _wake(self) -> None:
        self.woken += 1
