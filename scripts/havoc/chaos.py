"""The two chaoses: one with everything, and one with deliveries alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.crashing import POINTS
from scripts.havoc import verdict
from scripts.havoc.killing import Ends, Killer
from scripts.havoc.stage import SECRET, SLOTS, Stage
from scripts.havoc.traffic import Traffic
from server.store import runs
from tests.doubles.base import Delivery

BACKLOG = 10
"""Runs that may wait before pushes pause."""
QUIET_SECONDS = 180.0
DELIVERY_POINTS = (
    "webhooks.taken",
    "webhooks.stored",
    "store.committing",
    "intake.began",
    "mirrors.fetched",
    "intake.recorded",
)
NO_PUSHES = ("push.output", "push.sent")
"""Points that this chaos never reaches: an image that is pushed needs a registry."""
SENDERS = 3

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Result:
    """What came of it."""

    ends: Ends
    sent: int
    """Pushes, or deliveries that got a 2xx."""
    runs: int = 0
    faults: list[str] = field(default_factory=list)


def with_everything(
    stage: Stage,
    image: str,
    *,
    kills: int,
    seed: int,
    minutes: float,
    say: Say,
    most: int = 10**6,
    longest: float = 3.0,
) -> Result:
    """Push all the time, at most `most` times, and kill within `longest` seconds of an answer."""
    pushed: dict[int, str] = {}

    def kind_of(run: int) -> str:
        if run not in pushed:
            row = stage.server.read(runs.run, run)
            pushed[run] = "" if row is None else row.event.title
        return pushed[run]

    killer = Killer(
        stage.server,
        points=[point for point in POINTS if point not in NO_PUSHES],
        seed=seed,
        longest=longest,
        slots=SLOTS,
        talks=lambda run: kind_of(run).endswith(": output"),
        step="test.unit",
    )
    traffic = Traffic(
        github=stage.github,
        repositories=stage.repositories,
        image=image,
        secret=SECRET,
        send=lambda delivery: stage.server.deliver("github", delivery),
        room=lambda pushes: pushes - _ended_runs(stage) < BACKLOG,
        seed=seed,
        most=most,
    )
    traffic.start()
    try:
        _kill_on(killer, kills=kills, minutes=minutes, say=say, told=lambda: len(traffic.pushes))
        traffic.stop()
        measure = killer.start()
        _await_quiet(stage, traffic.all_taken, say)
        measure()
    finally:
        traffic.close()
    faults = [f"the traffic itself broke: {traffic.broken!r}"] if traffic.broken else []
    faults += killer.ends.unhappy
    faults += verdict.lost_deliveries(stage.server, [p.delivery_id for p in traffic.pushes])
    faults += verdict.wrong_pushes(stage.server, stage.github, traffic.pushes)
    faults += verdict.unsound(stage.server)
    faults += [f"left on the engine: {one}" for one in stage.left()]
    return Result(
        ends=killer.ends,
        sent=len(traffic.pushes),
        runs=sum(len(push.kind.results) for push in traffic.pushes),
        faults=faults,
    )


def _ended_runs(stage: Stage) -> int:
    counts = stage.server.read(runs.count_by_state)
    return sum(count for state, count in counts.items() if state.ended)


def _kill_on(
    killer: Killer, *, kills: int, minutes: float, say: Say, told: Callable[[], int]
) -> None:
    until = time.monotonic() + minutes * 60
    ends = killer.ends
    while ends.kills < kills and time.monotonic() < until:
        before = ends.kills
        killer.live_and_die()
        if ends.kills % 25 == 0 and ends.kills != before:
            say(f"{ends.kills} kills, {ends.polite} times SIGTERM, {told()} sent")


def _await_quiet(stage: Stage, all_taken: Callable[[], bool], say: Say) -> None:
    """Wait until nothing goes on any more; what does not end, the verdict tells of."""
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        still = verdict.unquiet(stage.server)
        if all_taken() and not still and not stage.left():
            return
        time.sleep(0.2)
    say(f"not quiet after {QUIET_SECONDS:.0f} s: {still or 'deliveries, or the engine'}")


def with_deliveries(stage: Stage, *, kills: int, seed: int, minutes: float, say: Say) -> Result:
    """Send deliveries that start nothing, and kill."""
    killer = Killer(
        stage.server,
        points=DELIVERY_POINTS,
        seed=seed,
        longest=0.4,
        slots=SLOTS,
        talks=lambda _: False,
        step="",
    )
    flood = _Flood(stage, seed)
    flood.start()
    try:
        _kill_on(killer, kills=kills, minutes=minutes, say=say, told=lambda: len(flood.accepted))
    finally:
        flood.stop()
    measure = killer.start()
    _await_quiet(stage, lambda: True, say)
    measure()
    faults = killer.ends.unhappy + verdict.lost_deliveries(stage.server, flood.accepted)
    faults += verdict.unsound(stage.server)
    return Result(ends=killer.ends, sent=len(flood.accepted), faults=faults)


class _Flood:
    """Threads that send deliveries without a pause for an answer longer than it takes."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._web, repository = stage.repositories[0]
        nothing = (
            "when: { branch: never }\ntest:\n  unit:\n    image: none\n    commands: ['true']\n"
        )
        self._sha = repository.pushed({".lading.yml": nothing})
        self._over = threading.Event()
        self.accepted: list[str] = []
        self._threads = [
            threading.Thread(target=self._send_on, args=(seed * SENDERS + number,), daemon=True)
            for number in range(SENDERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _send_on(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._over.wait(chance.uniform(0.0, 0.06)):
            self._send(self._delivery(chance))

    def _delivery(self, chance: random.Random) -> Delivery:
        """A push to a branch of its own, or the end of one: both start nothing."""
        branch = f"refs/heads/b-{chance.getrandbits(64):x}"
        gone = chance.random() < 0.5
        sha = "0" * 40 if gone else self._sha
        before = self._sha if gone else "0" * 40
        return self._stage.github.push_delivery(
            self._web, sha=sha, secret=SECRET, ref=branch, before=before
        )

    def _send(self, delivery: Delivery) -> None:
        answer = self._stage.server.deliver("github", delivery)
        if answer in range(200, 300):
            self.accepted.append(delivery.headers["X-GitHub-Delivery"])
