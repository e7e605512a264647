"""Starting, re-running and cancelling runs on a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from server.cli import watching
from server.cli.errors import UsageError
from server.cli.listing import as_json
from server.cli.tables import one_line
from server.cli.terminal import tolerant
from server.cli.watching import Ending, tell
from server.client.answers import Attempt, Decision, StartedRun
from server.client.connection import Server


def start(
    server: Server,
    repository: str,
    ref: str,
    *,
    host: str | None,
    pipeline: str | None,
    inputs: Sequence[str],
    how: How,
) -> Ending:
    """Start the pipelines of a repository.

    Raises:
        UsageError: An input is no `name=value`.
        ClientError: The server says no, or cannot be asked.
    """
    body = {
        "repository": repository,
        "ref": ref,
        "host": host,
        "pipeline": pipeline,
        "inputs": _inputs(inputs),
    }
    answer = server.ask("POST", "/runs", body=body)
    decision = server.read(Decision, answer)
    if how.programs:
        print(as_json(answer))
    else:
        _say(decision, server)
    numbers = [one.number for one in decision.pipelines if one.number is not None]
    if not numbers:
        return Ending.ERROR
    if how.follow:
        return max(watching.follow(server, number) for number in numbers)
    return watching.wait(server, numbers) if how.wait else Ending.SUCCESS


def rerun(server: Server, number: int, *, failed: bool, step: str | None, how: How) -> Ending:
    """Run it again, or some of it.

    Raises:
        UsageError: Both some and some are asked for.
        ClientError: The server says no, or cannot be asked.
    """
    if failed and step is not None:
        raise UsageError("--failed and --from both say what runs again: leave one out")
    body: dict[str, str] = {"only": "failed"} if failed else {}
    if step is not None:
        body = {"from": step}
    answer = server.ask("POST", f"/runs/{number}/attempts", body=body)
    attempt = server.read(Attempt, answer)
    if how.programs:
        print(as_json(answer))
    else:
        _print(f"run {number}, attempt {attempt.number}  {server.url}/runs/{number}")
    if how.follow:
        return watching.follow(server, number)
    return watching.wait(server, [number]) if how.wait else Ending.SUCCESS


def cancel(server: Server, number: int, *, programs: bool) -> None:
    """Stop a run.

    Raises:
        ClientError: There is no such run, it has ended, or the server cannot be asked.
    """
    answer = server.ask("POST", f"/runs/{number}/cancel")
    attempt = server.read(Attempt, answer)
    if programs:
        print(as_json(answer))
    elif attempt.ended:
        tell(f"run {number} is {attempt.state}: {attempt.sentence}")
    else:
        tell(f"run {number} is being stopped: its steps have their grace to end in")


class How:
    """What becomes of a run once it is started."""

    def __init__(self, *, wait: bool, follow: bool, programs: bool) -> None:
        if follow and programs:
            raise UsageError("--json and --follow cannot both have standard output: take --wait")
        self.wait = wait
        self.follow = follow
        self.programs = programs


def _inputs(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--input: {text[:100]!r} is not of the form NAME=VALUE")
        if name in found:
            raise UsageError(f"--input: {name[:100]!r} is given twice")
        found[name] = value
    return found


def _say(decision: Decision, server: Server) -> None:
    for one in decision.pipelines:
        if one.number is not None:
            _print(f"run {one.number}  {one.pipeline}  {server.url}/runs/{one.number}")
        else:
            tell(f"{one.pipeline} was not started: {one.reason}")
        _problems(one)
    if not decision.pipelines:
        tell(f"nothing was started: {decision.reason}")


def _problems(one: StartedRun) -> None:
    for problem in one.problems:
        at = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
        tell(f"{at}: {problem.message} ({problem.code})")


def _print(line: str) -> None:
    tolerant(sys.stdout)
    print(one_line(line), flush=True)
