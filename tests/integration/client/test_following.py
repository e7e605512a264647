"""Output that is followed: whatever breaks, every byte once."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from pipelines.progress import State
from server.client.connection import Server
from server.client.errors import UnreachableError
from server.client.following import Follower
from server.logs import LogWriter
from server.store import runs
from tests.builders import House
from tests.doubles.base import wait_until
from tests.integration.client.conftest import Person, read
from tests.parts.answering import answer, answering
from tests.parts.proxy import Proxy


class Live:
    """A run with a step that prints what the test wants, when it wants."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.run = house.run().id
        house.take()
        self.writers: dict[str, LogWriter] = {}

    def begin(self, key: str) -> None:
        self.house.begin(self.run, key)
        self.writers[key] = self.house.logs.open(self.run, 1, key)

    def print(self, key: str, data: bytes) -> None:
        self.writers[key].write(1, data)

    def end(self, key: str, state: State = State.SUCCESS) -> None:
        self.writers.pop(key).close()
        self.house.logs.end(self.run, 1, key)
        self.house.end(self.run, key, state, message="exit code 3" if state != "success" else "")


@pytest.fixture
def live(house: House) -> Iterator[Live]:
    made = Live(house)
    yield made
    for writer in made.writers.values():
        writer.close()


def ended(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, int]:
    out, err = process.communicate(timeout=60)
    return out, err, process.returncode


def test_output_is_there_as_it_is_printed_and_the_code_says_how_the_step_ended(
    person: Person, live: Live
) -> None:
    live.begin("test.unit")
    live.print("test.unit", b"one\n")
    with person.started("logs", live.run, "test.unit", "-f") as process:
        assert read(process.stdout, b"one\n") == b"one\n"
        live.print("test.unit", b"two, and no line end")
        assert read(process.stdout, b"end") == b"two, and no line end"
        live.end("test.unit", State.FAILURE)
        out, err, code = ended(process)

    assert (out, code) == (b"", 1)
    assert b"test.unit: failure" in err
    assert b"exit code 3" in err


def test_what_was_printed_is_there_byte_for_byte(person: Person, live: Live) -> None:
    data = bytes(range(256)) * 1000
    live.begin("test.unit")
    live.print("test.unit", data)
    with person.started("logs", live.run, "test.unit", "--follow") as process:
        live.end("test.unit")
        out, _, code = ended(process)

    assert code == 0
    assert out == data


@pytest.mark.timeout(180)
def test_a_connection_that_is_cut_again_and_again_costs_no_byte_and_doubles_none(
    person: Person, live: Live, wire: Proxy
) -> None:
    live.begin("test.unit")
    whole = b""
    got = b""
    with person.started("logs", live.run, "test.unit", "-f") as process:
        for round_ in range(6):
            mark = b"<%d>" % round_
            piece = b"%d " % round_ * 20_000 + mark
            live.print("test.unit", piece)
            whole += piece
            got += read(process.stdout, mark)
            wire.go_down()
            more = b"while it was away %d " % round_
            live.print("test.unit", more)
            whole += more
            wire.go_on()
        live.end("test.unit")
        out, err, code = ended(process)

    assert code == 0
    assert got + out == whole
    assert b"Traceback" not in err


def steps(state: str) -> bytes:
    step = {
        "key": "test.unit",
        "state": state,
        "started_at": None,
        "running_at": None,
        "ended_at": None,
        "outcome": None,
        "carried_from": None,
    }
    return answer(200, json.dumps({"items": [step]}))


def log(body: str, status: int = 200) -> bytes:
    return answer(status, body, kind="text/plain")


def test_a_server_that_stops_in_order_is_not_taken_for_the_steps_end() -> None:
    script = (
        steps("running"),
        log("one"),  # a server that stops ends its answers as if all were said
        steps("success"),
        log("two"),
        log("three", 206),  # what it had not said
        answer(416, "{}", kind="application/problem+json"),
    )
    with answering(*script) as there, Server(there.url, "t") as server:
        follower = Follower(server, 7, 1, tell=print, patience=1)

        assert b"".join(follower.output("test.unit")) == b"onetwothree"

    asked = [request.partition(" HTTP")[0] for request in there.requests]
    path = "/api/v1/runs/7/attempts/1/steps"
    assert asked == [
        f"GET {path}",
        f"GET {path}/test.unit/log?follow=true&from_byte=0",
        f"GET {path}",
        f"GET {path}/test.unit/log?follow=true&from_byte=3",
        f"GET {path}/test.unit/log",
    ]
    assert "Range: bytes=6-\r\n" in there.requests[-1]


def test_a_proxy_that_knows_no_ranges_doubles_nothing() -> None:
    script = (steps("success"), log("one"), log("one and more"))
    with answering(*script) as there, Server(there.url, "t") as server:
        follower = Follower(server, 7, 1, tell=print, patience=1)

        assert b"".join(follower.output("test.unit")) == b"one and more"


def test_a_server_that_stays_away_is_given_up() -> None:
    said: list[str] = []
    with (
        answering(answer(503, "", kind="text/html")) as there,
        Server(there.url, "t") as server,
        pytest.raises(UnreachableError),
    ):
        list(Follower(server, 7, 1, tell=said.append, patience=1).output("test.unit"))

    assert len(said) == 1
    assert len(there.requests) > 1


def test_a_step_that_is_silent_is_waited_for_without_a_word(
    live: Live, wire: Proxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.client.connection.READ_SECONDS", 0.5)
    live.begin("test.unit")
    live.print("test.unit", b"one")
    said: list[str] = []

    def asked() -> int:
        return sum("follow=true" in request for request in wire.requests)

    def go_on() -> None:
        wait_until(lambda: asked() >= 3, "it asks anew", 30)
        live.print("test.unit", b" and two")
        live.end("test.unit")

    going_on = threading.Thread(target=go_on)
    going_on.start()
    with Server(url, live.house.token()) as server:
        follower = Follower(server, live.run, 1, tell=said.append, patience=1)
        got = b"".join(follower.output("test.unit"))
    going_on.join(30)

    assert got == b"one and two"
    assert said == []


def test_the_next_step_is_followed_once_the_one_before_has_ended(
    person: Person, live: Live
) -> None:
    live.begin("build.web")
    live.print("build.web", b"built\n")
    with person.started("logs", live.run, "-f") as process:
        got = read(process.stdout, b"built\n")
        live.end("build.web")
        live.begin("test.unit")
        live.print("test.unit", b"tested\n")
        got += read(process.stdout, b"tested\n")
        live.end("test.unit", State.FAILURE)
        live.house.end(live.run, "push.web", State.SKIPPED, exit_code=None, message="skipped: x")
        live.house.finish(live.run, State.FAILURE, "test.unit failed: exit code 3")
        out, err, code = ended(process)

    text = (got + out).decode()
    assert code == 1
    assert text.index("--- build.web ---") < text.index("built") < text.index("--- test.unit ---")
    assert "push.web: skipped" in text
    assert err.decode().endswith("(web): test.unit failed: exit code 3\n")


@pytest.mark.parametrize(
    ("state", "code"), [(State.SUCCESS, 0), (State.CANCELLED, 3), (State.ERROR, 3)]
)
def test_the_code_of_a_run_says_how_it_ended(
    person: Person, live: Live, state: State, code: int
) -> None:
    for key in ("build.web", "test.unit", "push.web"):
        live.house.end(live.run, key, State.SKIPPED, exit_code=None)
    live.house.finish(live.run, state, "so it ended")

    done = person.lading("logs", live.run, "-f")

    assert done.returncode == code
    assert "so it ended" in done.stderr


def test_ctrl_c_ends_the_watching_and_nothing_else(person: Person, live: Live) -> None:
    live.begin("test.unit")
    live.print("test.unit", b"going on")
    with person.started("logs", live.run, "-f") as process:
        read(process.stdout, b"going on")
        process.send_signal(signal.SIGINT)
        _, err, code = ended(process)

    assert code == 130
    assert b"Traceback" not in err
    assert live.house.fresh(live.run).state is State.RUNNING


def test_a_reader_that_goes_away_ends_it_without_a_traceback(person: Person, live: Live) -> None:
    live.begin("test.unit")
    live.print("test.unit", b"x" * 1_000_000)
    live.end("test.unit")
    with person.started("logs", live.run) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        code = process.wait(30)

    assert code == 141
    assert err == b""


def test_while_it_waits_it_says_for_what_once(person: Person, house: House) -> None:
    run = house.run().id
    with person.started("logs", run, "-f") as process:
        said = read(process.stderr, b"\n")
        house.take()
        for key in ("build.web", "test.unit", "push.web"):
            house.end(run, key, State.SKIPPED, exit_code=None)
        house.finish(run, State.SUCCESS, "done")
        _, err, code = ended(process)

    assert said == b"lading: run %d waits for a slot\n" % run
    assert b"waits for a slot" not in err
    assert code == 0


def test_a_new_attempt_meanwhile_is_not_taken_for_the_one_that_is_followed(
    person: Person, live: Live
) -> None:
    live.begin("test.unit")
    live.print("test.unit", b"first")
    with person.started("logs", live.run, "-f") as process:
        got = read(process.stdout, b"first")
        live.end("test.unit")
        live.house.finish(live.run, State.SUCCESS, "1 step passed")
        again = live.house.database.run(
            runs.add_attempt, live.run, 1, reason="re-run", at=live.house.clock()
        )
        out, err, code = ended(process)

    assert again == 2
    assert code == 0
    assert (got + out).count(b"first") == 1
    assert b"1 step passed" in err
