"""F34: a clock that is set, forwards or back, by an hour or by years, upsets nothing."""

from __future__ import annotations

import asyncio
import datetime as real
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from pipelines.executor import STDOUT
from pipelines.progress import Progress, State, StepRunning, StepStarted
from pipelines.testing import Script, ScriptedExecutor, commands_step, plan_of
from pipelines.uptime import Uptime, uptime
from server.clock import Jumps
from server.hosts.calling import retry_after
from server.hosts.port import StatusState
from server.log_index import RECORD
from server.logs import LogStore
from server.runs import stored_progress
from server.schedules import Every, every_night, ticking
from server.store import deliveries, pauses, runs, statuses, tokens
from server.store.deliveries import DeliveryIds, newest_id
from server.store.rows import PauseKind
from tests.builders import NOW, Clock, House
from tests.unit.pipelines_run.test_execution import Walk

HOUR = 3600
JUMPS = [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=3), timedelta(days=-20_000)]
BOOT = "5a0a2b5c-0000-4000-8000-000000000001"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


# Steps


def begun(step: str, *, at: datetime, uptime: Uptime | None) -> Progress:
    """Where an earlier process left a step that ran."""
    plan = plan_of(commands_step(step.removeprefix("test."), timeout=HOUR))
    progress = Progress.of(plan)
    for fact in (StepStarted(step=step, at=at, uptime=uptime), StepRunning(step=step, at=at)):
        progress = progress.apply(fact)
    return progress


def taken_up(walk: Walk, earlier: Progress, now: Uptime | None) -> State:
    """Go on with a step that runs; it ends by itself unless its time is over."""
    walk.steady = lambda: now

    async def work() -> State:
        async with asyncio.timeout(10):
            return (await walk.go(earlier)).state

    return asyncio.run(work())


@pytest.mark.parametrize("jump", JUMPS)
def test_a_step_that_was_taken_up_has_the_time_that_it_had_left_whatever_the_clock_did(
    jump: timedelta,
) -> None:
    started = Uptime(boot=BOOT, seconds=1000)
    earlier = begun("test.a", at=NOW, uptime=started)
    step = earlier.steps["test.a"]
    after_a_minute = Uptime(boot=BOOT, seconds=1060)

    assert step.lasted(NOW + timedelta(seconds=60) + jump, after_a_minute) == 60


def test_a_step_whose_time_is_over_by_the_clock_alone_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.execution.LEAST", 0.0)
    earlier = begun("test.a", at=NOW, uptime=Uptime(boot=BOOT, seconds=1000))
    ends = asyncio.Event()
    script = Script(release=ends)
    walk = Walk(
        earlier.plan, ScriptedExecutor(scripts={"test.a": script}, found=frozenset({"test.a"}))
    )

    def clock() -> datetime:
        asyncio.get_running_loop().call_later(0.1, ends.set)
        return NOW + timedelta(hours=5)

    walk.clock = clock  # type: ignore[method-assign]

    assert taken_up(walk, earlier, Uptime(boot=BOOT, seconds=1060)) is State.SUCCESS


def test_a_step_whose_time_is_over_ends_though_the_clock_went_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.execution.LEAST", 0.01)
    earlier = begun("test.a", at=NOW, uptime=Uptime(boot=BOOT, seconds=1000))
    script = Script(release=asyncio.Event())
    walk = Walk(
        earlier.plan, ScriptedExecutor(scripts={"test.a": script}, found=frozenset({"test.a"}))
    )
    walk.clock = lambda: NOW - timedelta(hours=5)  # type: ignore[method-assign]

    assert taken_up(walk, earlier, Uptime(boot=BOOT, seconds=1000 + HOUR)) is State.FAILURE
    assert walk.ends()["test.a"][1].startswith("timed out after 1 h")


@pytest.mark.parametrize(
    ("started", "now"),
    [
        (None, Uptime(boot=BOOT, seconds=1)),  # by a Lading that did not note it
        (Uptime(boot="another", seconds=5000), Uptime(boot=BOOT, seconds=1)),
        (Uptime(boot=BOOT, seconds=1), None),
    ],
)
def test_where_the_steady_clock_does_not_reach_the_wall_clock_counts(
    started: Uptime | None, now: Uptime | None
) -> None:
    step = begun("test.a", at=NOW, uptime=started).steps["test.a"]

    assert step.lasted(NOW + timedelta(seconds=90), now) == 90


def test_the_machines_own_clock_goes_on_from_one_process_to_the_next() -> None:
    first, second = uptime(), uptime()

    assert first is not None
    assert second is not None
    passed = second.since(first)
    assert passed is not None
    assert 0 <= passed < 60
    assert first.since(second) == 0


def test_when_a_step_started_on_the_steady_clock_is_kept_in_its_row(house: House) -> None:
    run = house.run().id
    house.take()
    started = Uptime(boot=BOOT, seconds=12.5)
    fact = StepStarted(step="build.web", at=NOW, uptime=started)

    house.database.run(runs.record_facts, run, 1, [fact])

    rows = house.database.run(runs.steps_of, run, 1)
    plan = house.fresh(run).plan
    assert plan is not None
    progress = stored_progress(plan, rows)
    assert progress.steps["build.web"].started_uptime == started
    assert progress.steps["test.unit"].started_uptime is None


def test_the_facts_of_an_attempt_never_go_back_in_time() -> None:
    times = iter(NOW + timedelta(seconds=s) for s in (0, 1, -3600, -3599, 5, 6, -9, 7, 8, 9, 10))
    walk = Walk(plan_of(commands_step("a"), commands_step("b")), ScriptedExecutor())
    walk.clock = lambda: next(times)  # type: ignore[method-assign]

    asyncio.run(walk.go())

    told = [fact.at for fact in walk.facts]
    assert told == sorted(told)


# Deliveries


@pytest.mark.parametrize("jump", JUMPS)
def test_deliveries_keep_the_order_of_their_arrival(jump: timedelta) -> None:
    at = NOW.timestamp()
    times = iter([at, at + 1, at + 1 + jump.total_seconds(), at + 2 + jump.total_seconds()])
    ids = DeliveryIds(None, clock=lambda: round(next(times) * 1e9))

    made = [ids.new() for _ in range(4)]

    assert made == sorted(set(made))
    assert {len(one) for one in made} == {20}


def test_deliveries_keep_their_order_across_a_restart_with_the_clock_set_back(
    house: House,
) -> None:
    before = house.delivery("d-1").id
    slow = round((NOW - timedelta(hours=1)).timestamp() * 1e9)

    ids = DeliveryIds(house.database.run(newest_id), clock=lambda: slow)
    house.delivery_ids = ids
    later = [house.delivery(f"d-{number}").id for number in (2, 3)]

    newest_first = house.database.run(deliveries.deliveries_page)
    assert [row.id for row in reversed(newest_first)] == [before, *later]


def test_an_id_still_tells_the_time_where_the_clock_is_right() -> None:
    at = round(NOW.timestamp() * 1e9)

    assert int(DeliveryIds(None, clock=lambda: at).new()[:16], 16) == at


# Statuses


def waiting_status(house: House) -> int:
    """A status that the host did not take, to be told again in ten minutes."""
    row = house.run()
    house.database.run(
        statuses.want_status,
        run=row,
        attempt=1,
        state=StatusState.SUCCESS,
        description="",
        target_url="",
        at=NOW,
    )
    (due,) = house.database.run(statuses.due_statuses, "forge", now=NOW, limit=10)
    house.database.run(
        statuses.status_failed,
        due.id,
        version=due.version,
        error="502",
        now=NOW,
        due_at=NOW + timedelta(minutes=10),
    )
    return due.id


def is_due(house: House, at: datetime) -> bool:
    return bool(house.database.run(statuses.due_statuses, "forge", now=at, limit=10))


def test_a_status_that_waits_ten_minutes_does_not_wait_an_hour_because_the_clock_went_back(
    house: House,
) -> None:
    waiting_status(house)

    assert not is_due(house, NOW + timedelta(minutes=9))
    assert is_due(house, NOW + timedelta(minutes=9) - timedelta(hours=1))


def test_a_status_wanted_just_before_the_clock_went_back_is_told_at_once(house: House) -> None:
    house.database.run(
        statuses.want_status,
        run=house.run(),
        attempt=1,
        state=StatusState.PENDING,
        description="",
        target_url="",
        at=NOW,
    )

    assert is_due(house, NOW - timedelta(days=365))


def test_a_status_told_too_early_after_a_jump_waits_by_the_new_clock(house: House) -> None:
    status = waiting_status(house)
    back = NOW - timedelta(hours=1)

    house.database.run(
        statuses.status_failed,
        status,
        version=1,
        error="502",
        now=back,
        due_at=back + timedelta(minutes=20),
    )

    assert not is_due(house, back + timedelta(minutes=19))
    assert is_due(house, back + timedelta(minutes=20))


def leave_alone(house: House, now: datetime) -> None:
    """The host asks for twelve hours of quiet."""
    until = now + timedelta(hours=12)
    house.database.run(pauses.pause, "forge", kind=PauseKind.QUIET, reason="", now=now, until=until)


def test_a_host_that_wants_quiet_is_asked_once_after_a_jump_and_not_for_ever(
    house: House,
) -> None:
    waiting_status(house)
    back = NOW - timedelta(hours=1)

    leave_alone(house, NOW)

    assert not is_due(house, NOW + timedelta(hours=11))
    assert is_due(house, back)
    leave_alone(house, back)
    assert not is_due(house, back)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_hosts_wish_for_quiet_is_read_by_the_hosts_own_clock(jump: timedelta) -> None:
    told = {"Date": format_datetime(NOW, usegmt=True)}
    until = NOW + timedelta(seconds=90)
    headers = [
        {"Retry-After": format_datetime(until, usegmt=True)},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(round(until.timestamp()))},
    ]

    for wish in headers:
        assert retry_after({**told, **wish}, NOW + jump) == 90


# Logs


@pytest.mark.parametrize("jump", JUMPS)
def test_times_within_a_log_never_go_back_also_when_it_is_gone_on_with(
    tmp_path: Path, jump: timedelta
) -> None:
    clock = Clock()
    store = LogStore(tmp_path, limit=1 << 20, clock=lambda: round(clock().timestamp() * 1e9))
    writer = store.open(1, 1, "test.a")
    writer.write(STDOUT, b"one\n")
    clock.forward(seconds=jump.total_seconds())
    writer.write(STDOUT, b"two\n")
    writer.pause()
    clock.forward(seconds=-2)
    writer = store.open(1, 1, "test.a")
    writer.write(STDOUT, b"three\n")
    writer.close()

    index = (tmp_path / "1" / "1" / "test.a.idx").read_bytes()
    times = [record[0] for record in RECORD.iter_unpack(index)]
    assert len(times) == 3
    assert times == sorted(times)


# Tokens


def test_a_token_that_is_good_for_longer_outlives_a_jump(house: House) -> None:
    house.token("ada", expires_at=NOW + timedelta(hours=12))

    (row,) = house.database.run(tokens.all_tokens)

    assert row.expires_at is not None
    assert row.expires_at > NOW + timedelta(hours=1)


# The scheduler


class Wall:
    """APScheduler's clock, which may be set; it goes on with the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = timedelta()
        wall = self

        class Shifted(real.datetime):
            @classmethod
            def now(cls, tz: real.tzinfo | None = None) -> Shifted:
                return wall(tz)  # type: ignore[return-value] # a datetime as good as any

        monkeypatch.setattr("apscheduler.schedulers.base.datetime", Shifted)
        monkeypatch.setattr("apscheduler.triggers.interval.datetime", Shifted)

    def __call__(self, tz: real.tzinfo | None = UTC) -> datetime:
        return real.datetime.now(tz) + self.offset


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=20_000)])
def test_what_is_done_every_so_often_goes_on_after_a_jump(
    monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    wall = Wall(monkeypatch)

    async def work() -> None:
        calls = asyncio.Queue[None]()

        async def job() -> None:
            calls.put_nowait(None)

        jobs = {"job": (Every(seconds=0.2, timezone=UTC), job)}
        async with ticking(jobs, jumps=Jumps(wall), look=0.05), asyncio.timeout(10):
            await calls.get()
            wall.offset = jump
            for _ in range(3):
                await calls.get()
            assert calls.qsize() == 0  # none was made up for

    asyncio.run(work())


def test_a_time_of_day_is_kept_once_though_the_clock_goes_back_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall = Wall(monkeypatch)

    async def work() -> int:
        calls = 0
        done = asyncio.Event()

        async def nightly() -> None:
            nonlocal calls
            calls += 1
            done.set()

        async def often() -> None:
            await asyncio.sleep(0)

        night = every_night()
        night.jitter = None
        now = real.datetime.now(UTC)
        to_three = now.replace(hour=3, minute=0, second=0, microsecond=0) - now
        wall.offset = to_three - timedelta(minutes=1)
        jobs = {"night": (night, nightly), "often": (Every(seconds=0.1, timezone=UTC), often)}
        async with ticking(jobs, jumps=Jumps(wall), look=0.02), asyncio.timeout(10):
            for jump in (2, -90, 91, -2, 3):  # minutes: over three o'clock and back, three times
                wall.offset += timedelta(minutes=jump)
                seen = asyncio.Event()
                asyncio.get_running_loop().call_later(0.3, seen.set)
                await seen.wait()
            await done.wait()
        return calls

    assert asyncio.run(work()) == 1


def test_summer_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    night = every_night()
    night.jitter = None
    at = datetime(2026, 3, 27, 4, 0, tzinfo=UTC)  # the clocks there change on the 29th
    slots = []
    for _ in range(4):
        at = night.get_next_fire_time(at, at)
        slots.append(at)

    assert slots == [datetime(2026, 3, day, 3, 0, tzinfo=UTC) for day in (28, 29, 30, 31)]


@pytest.mark.parametrize(
    ("by", "found"), [(0.0, 0.0), (0.4, 0.0), (-0.9, 0.0), (3600.0, 3600.0), (-3600.0, -3600.0)]
)
def test_a_clock_that_was_set_is_noticed_and_one_that_drifts_is_not(
    by: float, found: float
) -> None:
    clock, steady = Clock(), 100.0
    jumps = Jumps(clock, lambda: steady)
    steady += 5
    clock.forward(seconds=5 + by)

    assert jumps.look() == timedelta(seconds=found)
    assert jumps.look() == timedelta()
