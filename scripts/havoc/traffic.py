"""Pushes all the time: real commits, and the webhooks that tell of them until they are taken."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.doubles.base import Delivery
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.parts.git_server import Repository

REDELIVERY_SECONDS = 0.4
TWICE = 0.1
"""How many of the deliveries are sent once more although they were taken."""

COUNT = """\
i=0
while [ $i -lt {lines} ]; do
  i=$((i + 1)); echo "out-$i."; echo "err-$i." >&2
  [ $((i % {each})) -ne 0 ] || usleep 40000
done
exit {code}
"""


@dataclass(frozen=True, kw_only=True)
class Counting:
    """A step that writes numbered lines to both streams, and ends."""

    lines: int
    each: int = 50
    """Lines between two pauses of 40 ms."""
    code: int = 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is pushed, and what shall come of it."""

    name: str
    pipelines: Mapping[str, str]
    """Definitions by file; `IMAGE` stands for the image."""
    steps: Mapping[str, Mapping[str, Counting]]
    """The steps whose lines are counted, by pipeline."""
    results: Mapping[str, str]
    """By pipeline: the state in which it ends."""
    files: Mapping[str, str]

    @property
    def talks(self) -> bool:
        """Whether its one step never falls silent for long."""
        return self.name == "output"


def _step(name: str, *, needs: str = "") -> str:
    after = f"    needs: [test.{needs}]\n" if needs else ""
    return f"  {name}:\n    image: IMAGE\n{after}    commands: [sh ./{name}.sh]\n"


def _kind(
    name: str, steps: Mapping[str, Counting], definition: str, result: str = "success"
) -> Kind:
    return Kind(
        name=name,
        pipelines={".lading.yml": definition},
        steps={"default": {f"test.{step}": counting for step, counting in steps.items()}},
        results={"default": result},
        files=_scripts(steps),
    )


def _scripts(steps: Mapping[str, Counting]) -> dict[str, str]:
    return {
        f"{name}.sh": COUNT.format(lines=one.lines, each=one.each, code=one.code)
        for name, one in steps.items()
    }


def kinds() -> tuple[Kind, ...]:
    """The mix: passing, failing, talkative, in two steps, with a build, with two pipelines."""
    few, more = Counting(lines=40), Counting(lines=200)
    return (
        _kind("passing", {"unit": few}, "test:\n" + _step("unit")),
        _kind(
            "failing", {"unit": Counting(lines=40, code=3)}, "test:\n" + _step("unit"), "failure"
        ),
        _kind("output", {"unit": Counting(lines=4000)}, "test:\n" + _step("unit")),
        _kind(
            "two steps",
            {"unit": more, "then": few},
            "test:\n" + _step("unit") + _step("then", needs="unit"),
        ),
        _with_build(few),
        Kind(
            name="two pipelines",
            pipelines={f".lading/{name}.yml": "test:\n" + _step(name) for name in ("one", "two")},
            steps={name: {f"test.{name}": few} for name in ("one", "two")},
            results={"one": "success", "two": "success"},
            files=_scripts({"one": few, "two": few}),
        ),
    )


def _with_build(few: Counting) -> Kind:
    kind = _kind(
        "build", {"unit": few}, "build:\n  web: {}\ntest:\n  unit:\n    commands: [sh ./unit.sh]\n"
    )
    return Kind(
        name=kind.name,
        pipelines=kind.pipelines,
        steps=kind.steps,
        results=kind.results,
        files={**kind.files, "Dockerfile": "FROM IMAGE\nCOPY NUMBER /number\nRUN cat /number\n"},
    )


@dataclass(kw_only=True)
class Push:
    """One push, and how often its webhook was sent."""

    number: int
    kind: Kind
    repository: GitHubRepository
    sha: str
    delivery: Delivery
    sent: int = 0
    taken: int = 0
    """Answers of 2xx."""

    @property
    def delivery_id(self) -> str:
        """The host's id of the webhook."""
        return self.delivery.headers["X-GitHub-Delivery"]


class Traffic:
    """One thread that pushes, and one that redelivers what got no 2xx, as a host would.

    Args:
        send: Sends a webhook; the status code, None where there was no answer.
        room: Whether another push may come now: the engine takes only so many a second.
        most: No more pushes than these.
    """

    def __init__(
        self,
        *,
        github: GitHubDouble,
        repositories: list[tuple[GitHubRepository, Repository]],
        image: str,
        secret: str,
        send: Callable[[Delivery], int | None],
        room: Callable[[int], bool],
        seed: int,
        most: int,
    ) -> None:
        self._github = github
        self._repositories = repositories
        self._image = image
        self._secret = secret
        self._send = send
        self._room = room
        self._random = random.Random(seed)
        self._most = most
        self._kinds = kinds()
        self._over = threading.Event()
        self._redelivered = threading.Event()
        self.pushes: list[Push] = []
        self.broken: Exception | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._push_on, self._redeliver_on)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more pushes; what was pushed is redelivered until it is taken."""
        self._over.set()

    def all_taken(self) -> bool:
        """Whether every push's webhook got a 2xx."""
        return not self._threads[0].is_alive() and all(push.taken for push in self.pushes)

    def close(self) -> None:
        """Stop redelivering."""
        self._over.set()
        self._redelivered.set()
        for thread in self._threads:
            thread.join(60)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told at the end, by the thread that waits
            self.broken = error

    def _push_on(self) -> None:
        while len(self.pushes) < self._most:
            if self._room(len(self.pushes)):
                self._push()
            if self._over.wait(self._random.uniform(0.05, 0.6)):
                return

    def _push(self) -> None:
        number = len(self.pushes) + 1
        # Each kind in its turn, so that a short chaos has them all.
        kind = self._kinds[(number - 1) % len(self._kinds)]
        host, repository = self._repositories[number % len(self._repositories)]
        files = {**kind.pipelines, **kind.files, "NUMBER": str(number)}
        repository.clear()
        sha = repository.commit(
            {name: text.replace("IMAGE", self._image) for name, text in files.items()},
            f"push {number}: {kind.name}",
        )
        ref = f"refs/heads/push-{number}"
        repository.push(f"HEAD:{ref}")
        delivery = self._github.push_delivery(host, sha=sha, secret=self._secret, ref=ref)
        push = Push(number=number, kind=kind, repository=host, sha=sha, delivery=delivery)
        self.pushes.append(push)
        self._deliver(push)

    def _deliver(self, push: Push) -> None:
        push.sent += 1
        if self._send(push.delivery) in range(200, 300):
            push.taken += 1

    def _redeliver_on(self) -> None:
        while not self._redelivered.wait(REDELIVERY_SECONDS):
            for push in list(self.pushes):
                again = push.taken == 1 and push.sent == 1 and push.number % round(1 / TWICE) == 0
                if (push.sent and not push.taken) or again:
                    self._deliver(push)
