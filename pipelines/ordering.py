"""Which step waits for which: the order of the stages, and `needs` in its place.

A stage starts when the one before has passed. `needs` replaces that rule for one step. Whatever
`needs` says, a step waits for the build it takes its image from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from pipelines.plan import STAGE_ORDER, Stage
from pipelines.values import Value


class Place(Value):
    """What of a step decides its order."""

    key: str
    stage: Stage
    needs: tuple[str, ...] | None = None
    """None: the order of the stages."""
    build: str | None = None
    """Key of the build it takes its image from."""


def behind(needs: Mapping[str, Collection[str]], key: str) -> frozenset[str]:
    """All that a step waits for, by itself or by way of what it waits for."""
    found: set[str] = set()
    left = [key]
    while left:
        new = set(needs.get(left.pop(), ())) - found
        found |= new
        left += new
    return frozenset(found)


class Order:
    """The order of a file's steps; of those left out only what they waited for remains.

    A waiting for a whole stage is kept as one name (`~test`), so that 1000 steps do not become
    hundreds of thousands of pairs.
    """

    def __init__(self, places: Sequence[Place], left_out: Collection[str] = ()) -> None:
        self._places = {place.key: place for place in places}
        self._left_out = left_out
        self._stages: dict[Stage, list[Place]] = {stage: [] for stage in STAGE_ORDER}
        for place in places:
            if place.key not in left_out:
                self._stages[place.stage].append(place)

    @cached_property
    def graph(self) -> Mapping[str, tuple[str, ...]]:
        """Each step and each whole stage, with the names it waits for."""
        whole = {_whole(stage): self._behind(stage) for stage in STAGE_ORDER}
        return whole | {key: self._waits(place) for key, place in self._places.items()}

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Each step that is not left out, with the keys of the steps it waits for."""
        spread: dict[str, tuple[str, ...]] = {}
        for stage in STAGE_ORDER:
            self._spread(_whole(stage), spread)
        return {key: self._spread(key, spread) for key in self._places if key not in self._left_out}

    def _spread(self, name: str, spread: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        """The steps behind a name's names, each once; stages and left-out steps dissolve."""
        if name not in spread:
            waits = self.graph[name]
            if len(waits) == 1 and waits[0] in spread and waits[0].startswith("~"):
                spread[name] = spread[waits[0]]
            else:
                found: dict[str, None] = {}
                for wanted in waits:
                    real = wanted in self._places and wanted not in self._left_out
                    found.update(dict.fromkeys([wanted] if real else self._spread(wanted, spread)))
                spread[name] = tuple(found)
        return spread[name]

    def _behind(self, stage: Stage) -> tuple[str, ...]:
        """What the end of a stage means: its steps have ended, and so have the stages before."""
        steps = self._stages[stage]
        keys = tuple(place.key for place in steps)
        covered = any(place.needs is None for place in steps)
        return keys if covered else keys + _before(stage)

    def _waits(self, place: Place) -> tuple[str, ...]:
        waits = _before(place.stage) if place.needs is None else place.needs
        image = (place.build,) if place.build and place.build not in waits else ()
        return tuple(dict.fromkeys((*waits, *image)))


def _whole(stage: Stage) -> str:
    return f"~{stage}"


def _before(stage: Stage) -> tuple[str, ...]:
    index = STAGE_ORDER.index(stage)
    return (_whole(STAGE_ORDER[index - 1]),) if index else ()
