"""What goes for its age, and what stays whatever its age."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pipelines.engine.cleanup import OldImage, Unused
from pipelines.events import EventKind
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import Pushed, State
from pipelines.reports import Report
from server import housekeeping as room
from server.config import RetentionSettings
from server.housekeeping import Gone, Housekeeping
from server.store import channels, deliveries, images, retention, runs, tallies
from server.store.channels import MoveKind, NewMove
from server.store.rows import DecisionOutcome, RunRow
from server.store.tallies import Tally
from tests.builders import House, event

DAY = 86400.0
IMAGE = "registry.test/web"


class EngineDouble:
    """An engine that holds some images."""

    def __init__(self) -> None:
        self.images = [OldImage(id="sha256:1", names=(), size=5, used_at=0.0)]
        self.asked: list[tuple[list[str], datetime, int]] = []
        self.removed: list[Unused] = []
        self.fault: Exception | None = None

    async def unused(self, repositories: Collection[str], *, before: datetime, room: int) -> Unused:
        if self.fault is not None:
            raise self.fault
        self.asked.append((list(repositories), before, room))
        return Unused(images=tuple(self.images), cache=0)

    async def remove(self, unused: Unused, *, age: float, room: int) -> None:  # noqa: ARG002
        self.removed.append(unused)
        self.images = []


class Kept:
    """A house and who keeps it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.engine = EngineDouble()
        self.busy = False
        self.settings = RetentionSettings(least_runs=0)

    @property
    def keeper(self) -> Housekeeping:
        return Housekeeping(
            database=self.house.database,
            logs=self.house.logs,
            artifacts=self.house.artifacts,
            engine=self.engine,
            settings=self.settings,
            clock=self.house.clock,
            busy=lambda: self.busy,
        )

    def keep(self) -> Gone:
        return asyncio.run(self.keeper.keep())

    def look(self) -> Gone:
        return asyncio.run(self.keeper.look())

    def known(self, run: RunRow) -> bool:
        return self.house.database.run(runs.run, run.id) is not None

    def older(self, ref: str = "refs/heads/dev") -> RunRow:
        """A run that failed on a branch where a newer one follows."""
        run = self.failed_on(ref)
        self.failed_on(ref)
        return run

    def failed_on(self, ref: str, kind: EventKind = EventKind.PUSH) -> RunRow:
        house = self.house
        happening = event(ref=ref, branch=ref.removeprefix("refs/heads/"), kind=kind)
        delivery = house.delivery(f"d-{house.delivery_ids.new()}")
        run = house.run(happening=happening, delivery=delivery)
        house.take()
        house.begin(run.id, "test.unit")
        house.write(run.id, "test.unit", b"some output\n")
        house.end(run.id, "test.unit", State.FAILURE, exit_code=1)
        house.finish(run.id, State.FAILURE, "test.unit failed")
        return house.fresh(run.id)

    def pushed(self, letter: str) -> RunRow:
        """A run that succeeded and pushed an image."""
        house = self.house
        run = house.run(delivery=house.delivery(f"d-{house.delivery_ids.new()}"))
        house.take()
        house.finish(run.id, State.SUCCESS, "passed")
        version = Pushed(repository=IMAGE, digest=letter * 64, size=1, tags=("main",))
        house.database.run(
            images.add_image_version,
            run=run,
            attempt=1,
            step="push.web",
            pushed=version,
            at=house.clock(),
        )
        return house.fresh(run.id)

    def promote(self, letter: str) -> None:
        """`production` leads to an image from now on."""
        new = NewMove(
            image=IMAGE,
            channel="production",
            kind=MoveKind.PROMOTE,
            digest=letter * 64,
            by="ada",
        )
        move = self.house.database.run(channels.begin_move, new, at=self.house.clock())
        assert move is not None
        self.house.database.run(
            channels.end_move,
            move,
            from_digest=move.from_digest,
            pause=False,
            parts=(),
            at=self.house.clock(),
        )

    def delivery_of(self, run: RunRow) -> str:
        decision = self.house.database.run(deliveries.decision, run.decision)
        assert decision is not None
        assert decision.delivery is not None
        return decision.delivery


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    house = House(tmp_path)
    yield Kept(house)
    house.close()


def sound(house: House) -> bool:
    with contextlib.closing(sqlite3.connect(house.data / "lading.db")) as conn:
        return not conn.execute("PRAGMA foreign_key_check").fetchall()


def count(house: House, table: str) -> int:
    with contextlib.closing(sqlite3.connect(house.data / "lading.db")) as conn:
        return int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_an_old_run_goes_with_decision_delivery_steps_status_and_output(kept: Kept) -> None:
    old = kept.older()
    delivery = kept.delivery_of(old)
    kept.house.clock.forward(days=91)

    gone = kept.keep()

    assert gone.runs == 1
    assert not kept.known(old)
    assert kept.house.database.run(deliveries.delivery, delivery) is None
    assert kept.house.database.run(deliveries.decision, old.decision) is None
    assert not (kept.house.data / "logs" / str(old.id)).exists()
    assert count(kept.house, "runs") == count(kept.house, "decisions") == 1
    assert sound(kept.house)


def test_a_younger_run_stays(kept: Kept) -> None:
    young = kept.older()
    kept.house.clock.forward(days=89)

    assert kept.keep().runs == 0
    assert kept.known(young)


def test_the_newest_runs_of_a_repository_stay_whatever_their_age(kept: Kept) -> None:
    kept.settings = RetentionSettings(least_runs=3)
    made = [kept.failed_on("refs/heads/dev") for _ in range(5)]
    kept.house.clock.forward(days=400)

    assert kept.keep().runs == 2
    assert [kept.known(run) for run in made] == [False, False, True, True, True]


def test_a_run_that_has_not_ended_never_goes(kept: Kept) -> None:
    waiting = kept.house.run(happening=event(ref="refs/heads/dev"))
    kept.failed_on("refs/heads/dev")
    kept.house.clock.forward(days=400)

    kept.keep()

    assert kept.known(waiting)


def test_a_run_that_is_started_again_just_then_stays(kept: Kept) -> None:
    old = kept.older()
    kept.house.clock.forward(days=91)
    before = kept.house.clock() - timedelta(days=90)
    kept.house.database.run(runs.add_attempt, old.id, 1, reason="re-run", at=kept.house.clock())

    gone = kept.house.database.run(retention.remove_runs, [old.id], before=before)

    assert gone == []
    assert kept.known(old)


def test_a_run_that_made_an_image_version_stays(kept: Kept) -> None:
    pushed = kept.house.succeeded()
    kept.house.succeeded()
    kept.house.clock.forward(days=400)

    kept.keep()

    assert kept.known(pushed)
    assert count(kept.house, "image_versions") == 2


def test_a_version_stays_that_a_channel_leads_to_or_may_be_rolled_back_to_and_no_other(
    kept: Kept,
) -> None:
    kept.settings = RetentionSettings(least_runs=0, moves=2)
    made = [kept.pushed(letter) for letter in "abcde"]
    for letter in "abcd":
        kept.promote(letter)
    kept.failed_on("refs/heads/main")
    kept.house.clock.forward(days=400)

    kept.keep()

    # Two moves back: from b to c, and from c to d.
    assert [kept.known(run) for run in made] == [False, True, True, True, False]
    assert sound(kept.house)


def test_a_version_that_is_promoted_just_then_stays(kept: Kept) -> None:
    old = kept.pushed("a")
    kept.pushed("b")
    kept.promote("b")
    kept.house.clock.forward(days=400)
    before = kept.house.clock() - timedelta(days=90)
    found = kept.house.database.run(
        retention.old_runs, old.repository, below=old.id + 1, before=before, after=0, limit=9
    )
    assert [one.id for one in found] == [old.id]
    kept.promote("a")

    gone = kept.house.database.run(retention.remove_runs, [old.id], before=before)

    assert gone == []


def test_the_newest_run_of_each_branch_stays_so_that_its_head_is_not_built_anew(
    kept: Kept,
) -> None:
    first, other = kept.older("refs/heads/one"), kept.failed_on("refs/heads/two")
    kept.house.clock.forward(days=400)

    kept.keep()

    assert (kept.known(first), kept.known(other)) == (False, True)


def test_the_newest_run_of_a_pull_request_goes(kept: Kept) -> None:
    run = kept.failed_on("refs/pull/7/head", EventKind.PULL_REQUEST)
    kept.house.clock.forward(days=91)

    kept.keep()

    assert not kept.known(run)


def test_old_output_goes_and_the_run_stays_and_says_so(kept: Kept) -> None:
    run = kept.house.failed(b"x" * 10_000)
    kept.house.clock.forward(days=31)

    gone = kept.keep()

    assert (gone.runs, gone.outputs) == (0, 1)
    assert gone.output_bytes >= 10_000
    assert kept.house.logs.size(run.id, 1, "test.unit") == 0
    (attempt,) = kept.house.database.run(runs.attempts_of, run.id)
    assert attempt.output_removed_at == kept.house.clock()
    assert kept.keep().outputs == 0


def test_output_of_a_newer_attempt_stays(kept: Kept) -> None:
    run = kept.house.failed()
    kept.house.clock.forward(days=31)
    kept.house.database.run(runs.add_attempt, run.id, 1, reason="re-run", at=kept.house.clock())
    kept.house.write(run.id, "test.unit", b"new\n", attempt=2)

    kept.keep()

    assert kept.house.logs.size(run.id, 1, "test.unit") == 0
    assert kept.house.logs.size(run.id, 2, "test.unit") == 4


def test_an_old_delivery_loses_headers_and_body_and_keeps_its_decision(kept: Kept) -> None:
    run = kept.failed_on("refs/heads/dev")
    delivery = kept.delivery_of(run)
    kept.house.clock.forward(days=15)

    gone = kept.keep()

    row = kept.house.database.run(deliveries.delivery, delivery)
    assert row is not None
    assert (row.body, row.headers, row.emptied_at) == (b"", {}, kept.house.clock())
    assert gone.deliveries == 1
    assert delivery in kept.house.database.run(deliveries.decisions_of, [delivery])
    assert not kept.house.database.run(deliveries.requeue_delivery, delivery)


def test_deliveries_that_wait_or_are_set_aside_keep_what_came(kept: Kept) -> None:
    waiting = kept.house.delivery("d-1")
    aside = kept.house.delivery("d-2")
    kept.house.database.run(deliveries.note_failed_try, aside.id, error="", quarantine_after=1)
    kept.house.clock.forward(days=80)

    assert kept.keep().deliveries == 0
    kept.house.clock.forward(days=20)
    kept.keep()
    assert kept.house.database.run(deliveries.delivery, waiting.id) == waiting
    assert kept.house.database.run(deliveries.delivery, aside.id) is None


def test_a_delivery_is_known_for_as_long_as_hosts_send_again(kept: Kept) -> None:
    with pytest.raises(ValueError, match="greater than or equal"):
        RetentionSettings(deliveries=2 * DAY)
    with pytest.raises(ValueError, match="greater than or equal"):
        RetentionSettings(runs=2 * DAY)
    kept.settings = RetentionSettings(runs=3 * DAY, deliveries=3 * DAY, least_runs=0)
    sent = kept.house.delivery("d-1")
    kept.house.nothing(sent, "no match")
    kept.house.clock.forward(days=2.9)
    kept.keep()

    again = kept.house.database.run(
        deliveries.add_deliveries,
        [sent.model_copy(update={"id": kept.house.delivery_ids.new()})],
    )

    assert again == [sent.id]


def test_decisions_that_started_nothing_go_with_what_repeats_them(kept: Kept) -> None:
    house = kept.house
    first, second = house.delivery("d-1"), house.delivery("d-2")
    house.nothing(first, "no match")
    number = house.database.run(deliveries.decisions_of, [first.id])[first.id].id
    house.database.run(
        deliveries.add_decision,
        delivery=second.id,
        repository=house.repository().id,
        event=None,
        event_key=None,
        outcome=DecisionOutcome.DUPLICATE,
        reason="told before",
        duplicate_of=number,
        at=house.clock(),
    )
    house.nothing(house.delivery("d-3"), "no match")
    house.clock.forward(days=91)

    assert kept.keep().decisions == 1
    assert count(house, "decisions") == count(house, "deliveries") == 1
    assert sound(house)


def test_a_decision_that_was_repeated_lately_stays(kept: Kept) -> None:
    house = kept.house
    old = kept.older()
    house.clock.forward(days=91)
    again = house.delivery("again")
    house.database.run(
        deliveries.add_decision,
        delivery=again.id,
        repository=old.repository,
        event=None,
        event_key=None,
        outcome=DecisionOutcome.DUPLICATE,
        reason="told before",
        duplicate_of=old.decision,
        at=house.clock(),
    )

    kept.keep()

    assert house.database.run(deliveries.delivery, again.id) is not None
    assert sound(house)


def test_looking_first_tells_what_goes_and_changes_nothing(kept: Kept) -> None:
    kept.older("refs/heads/one")
    kept.house.nothing(kept.house.delivery("d-9"), "no match")
    kept.house.nothing(kept.house.delivery("d-10"), "no match")
    kept.house.clock.forward(days=91)

    told = kept.look()
    before = {table: count(kept.house, table) for table in ("runs", "decisions", "deliveries")}
    done = asyncio.run(kept.keeper.keep_all())

    assert before == {"runs": 2, "decisions": 4, "deliveries": 4}
    assert told.model_copy(update={"deliveries": 0, "delivery_bytes": 0}) == done.model_copy(
        update={"deliveries": 0, "delivery_bytes": 0}
    )
    assert told.runs == 1


def test_portions_are_small_and_everything_goes_all_the_same(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PORTION", 2)
    monkeypatch.setattr(room, "PORTION_BYTES", 40)
    for _ in range(7):
        kept.failed_on("refs/heads/dev")
    kept.house.clock.forward(days=20)
    assert kept.keep().deliveries == 7
    kept.house.clock.forward(days=80)
    assert kept.keep().runs == 6
    assert sound(kept.house)


def test_folders_of_output_without_a_run_go_when_they_are_old(kept: Kept) -> None:
    kept.house.write(4711, "test.unit", b"left behind\n")
    assert kept.keep().outputs == 0

    # Files have the machine's own time.
    kept.house.clock.at = datetime.now(kept.house.clock.at.tzinfo) + timedelta(days=31)
    assert kept.keep().outputs == 1
    assert not (kept.house.data / "logs" / "4711").exists()


def test_what_was_done_is_noted_for_operators(kept: Kept) -> None:
    kept.older()
    kept.house.clock.forward(days=91)

    gone = kept.keep()

    noted = kept.house.database.run(tallies.all_tallies)[Tally.CLEANUPS]
    assert (noted.count, noted.note) == (1, gone.sentence)
    assert gone.sentence.startswith("1 run, output of 2 attempts (")


def test_the_engine_is_left_alone_while_runs_are_on_it(kept: Kept) -> None:
    kept.busy = True
    keeper = kept.keeper

    asyncio.run(keeper.keep_engine())
    assert kept.engine.removed == []

    kept.busy = False
    asyncio.run(keeper.keep_engine())
    assert [unused.images[0].id for unused in kept.engine.removed] == ["sha256:1"]


def test_the_engine_is_cleaned_once_a_day(kept: Kept) -> None:
    keeper = kept.keeper
    for _ in range(3):
        asyncio.run(keeper.keep_engine())
    assert len(kept.engine.asked) == 1

    kept.house.clock.forward(hours=24)
    asyncio.run(keeper.keep_engine())
    assert len(kept.engine.asked) == 2


def test_an_engine_that_is_away_keeps_nothing_else_from_going(kept: Kept) -> None:
    kept.engine.fault = ExecutorUnavailableError("the engine does not answer")
    kept.older()
    kept.house.clock.forward(days=91)

    assert asyncio.run(kept.keeper.keep_all()).runs == 1


def test_artifacts_go_when_their_time_is_over_and_the_report_stays(kept: Kept) -> None:
    run = kept.older().id
    kept.house.keep(run, files={"a.txt": b"one"}, report=Report(total=1), expire_in=3600.0)
    kept.house.clock.forward(minutes=59)
    assert kept.keep().artifacts == 0

    kept.house.clock.forward(minutes=1)
    looked = kept.look()
    gone = kept.keep()

    assert (looked.artifacts, gone.artifacts) == (1, 1)
    assert gone.artifact_bytes == looked.artifact_bytes > 0
    assert "artifacts of 1 step" in gone.sentence
    assert kept.house.artifacts.files(run, 1, "test.unit") == []
    assert kept.house.artifacts.report(run, 1, "test.unit") == Report(total=1)
    assert kept.keep().artifacts == 0


def test_only_looking_removes_no_artifacts(kept: Kept) -> None:
    run = kept.older().id
    kept.house.keep(run, files={"a.txt": b"one"}, expire_in=1.0)
    kept.house.clock.forward(days=1)

    kept.look()

    assert len(kept.house.artifacts.files(run, 1, "test.unit")) == 1


def test_more_artifacts_than_one_portion_go_at_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PORTION", 2)
    run = kept.older().id
    for number in range(5):
        kept.house.keep(run, f"test.{number}", files={"a": b"x"}, expire_in=1.0)
    kept.house.clock.forward(days=1)

    assert kept.look().artifacts == 5
    assert kept.keep().artifacts == 5


def test_an_old_run_goes_with_its_artifacts_and_reports(kept: Kept) -> None:
    run = kept.older().id
    kept.house.keep(run, files={"a": b"x"}, report=Report(total=1), expire_in=400 * DAY)
    kept.house.clock.forward(days=91)

    kept.keep()

    assert not (kept.house.data / "artifacts" / str(run)).exists()
    assert count(kept.house, "kept") == 0
    assert sound(kept.house)


def test_artifacts_of_no_run_go(kept: Kept) -> None:
    with kept.house.artifacts.shelf(77, 1, "test.unit", used=0) as shelf:
        shelf.report(Report(total=1))
    kept.settings = RetentionSettings(least_runs=0, logs=0.0)
    kept.house.clock.at = datetime.fromisoformat("2126-01-01T00:00:00+00:00")

    kept.keep()

    assert not (kept.house.data / "artifacts" / "77").exists()
