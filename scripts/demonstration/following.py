"""Following a run through the API, and showing what happens in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import requests

from pipelines.durations import format_duration
from pipelines.progress import State
from scripts.parts.errors import PartError

_POLL_SECONDS = 0.15
_DECISION_SECONDS = 30.0
_RUN_SECONDS = 600.0
_TERMINAL_SAFE = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "?")


class Api:
    """The server's API, as any program would use it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._session.close()

    def get(self, path: str) -> dict[str, Any]:
        """A JSON document."""
        answer = self._session.get(f"{self._url}/{path}", timeout=20)
        if not answer.ok:
            raise PartError(f"The API answered {answer.status_code} for {path}: {answer.text}")
        document: dict[str, Any] = answer.json()
        return document

    def output(self, address: str, start: int) -> bytes:
        """A step's output from byte `start` on; empty when there is none yet."""
        answer = self._session.get(address, headers={"Range": f"bytes={start}-"}, timeout=20)
        return answer.content if answer.status_code == requests.codes.partial_content else b""


def run_of(api: Api, sha: str) -> int:
    """The number of the run that a push of this commit started.

    Raises:
        PartError: none started; with what was decided.
    """
    deadline = time.monotonic() + _DECISION_SECONDS
    while time.monotonic() < deadline:
        for run in api.get("runs")["items"]:
            if run["sha"] == sha:
                return int(run["id"])
        time.sleep(_POLL_SECONDS)
    told = [f"{one['state']}: {one['reason'] or one['error']}" for one in _deliveries(api)]
    raise PartError(f"The push started no run. Deliveries: {'; '.join(told) or 'none'}.")


def _deliveries(api: Api) -> list[dict[str, Any]]:
    return list(api.get("deliveries")["items"])


def follow(api: Api, number: int) -> dict[str, Any]:
    """Show the run while it goes on; the run as it ended."""
    shown = _Shown(api)
    deadline = time.monotonic() + _RUN_SECONDS
    while True:
        run = api.get(f"runs/{number}")
        for step in run["steps"]:
            shown.step(step)
        if State(run["state"]).ended:
            return run
        if time.monotonic() > deadline:
            raise PartError(f"Run {number} did not end within {format_duration(_RUN_SECONDS)}.")
        time.sleep(_POLL_SECONDS)


class _Shown:
    """What the person has seen so far."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._states: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}

    def step(self, step: Mapping[str, Any]) -> None:
        """Show what is new of one step: that it started, its output, how it ended."""
        key, state = step["key"], State(step["state"])
        before = self._states.get(key, State.WAITING)
        self._states[key] = state
        if before == State.WAITING and state not in (State.WAITING, State.SKIPPED):
            print(f"\n▶ {key}")
        if before in (State.WAITING, State.RUNNING):
            self._output(step, whole=state.ended)
        if before != state and state.ended:
            print(f"{mark(state)} {key}: {state}{_took(step)}{_reason(step)}", flush=True)

    def _output(self, step: Mapping[str, Any], *, whole: bool) -> None:
        key = step["key"]
        start = self._bytes.get(key, 0)
        new = self._api.output(step["log"], start)
        self._bytes[key] = start + len(new)
        *lines, rest = (self._rest.get(key, b"") + new).split(b"\n")
        if whole and rest:
            lines, rest = [*lines, rest], b""
        self._rest[key] = rest
        for line in lines:
            print(f"  │ {_harmless(line)}", flush=True)


def mark(state: str) -> str:
    """A sign for a state; the word stands beside it."""
    return {State.SUCCESS: "✓", State.SKIPPED: "–"}.get(State(state), "✗")


def seconds(thing: Mapping[str, Any]) -> float | None:
    """How long a step or a run took."""
    start, end = thing["started_at"], thing["ended_at"]
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _took(step: Mapping[str, Any]) -> str:
    took = seconds(step)
    return "" if took is None else f", {took:.1f} s"


def _reason(step: Mapping[str, Any]) -> str:
    if step["state"] == State.SUCCESS or not step["outcome"]:
        return ""
    return f"\n  {step['outcome'].get('message', '')}"


def _harmless(line: bytes) -> str:
    """One line of output, without what could drive the terminal; of progress, its last."""
    return (
        line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace").translate(_TERMINAL_SAFE)
    )
