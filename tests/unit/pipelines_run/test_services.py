"""What is asked of a service, and how what it wrote is told; no engine here."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from pipelines.engine.probing import LISTENS, unready
from pipelines.engine.saying import BYTES, Told
from pipelines.plan import Ready


@contextlib.contextmanager
def listening(host: str) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        yield int(server.getsockname()[1])


def ready(port: int, seconds: float) -> bool:
    command = ["sh", "-c", LISTENS, f"{port:04X}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
        try:
            return asking.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            asking.kill()
            return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_others_can_reach_is_ready(host: str) -> None:
    with listening(host) as port:
        assert ready(port, 10)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_only_itself_can_reach_is_not_ready(host: str) -> None:
    with listening(host) as port:
        assert not ready(port, 0.5)


def test_a_port_that_nobody_listens_on_is_not_ready() -> None:
    with listening("0.0.0.0") as port:
        pass
    assert not ready(port, 0.5)


def test_a_connection_from_that_port_is_no_listener() -> None:
    with listening("0.0.0.0") as port, socket.create_connection(("127.0.0.1", port)) as other:
        assert not ready(other.getsockname()[1], 0.5)


def test_each_line_stands_under_the_services_name() -> None:
    told = Told(name="db", data=b"one\ntwo").whole()
    assert told == b"\n[lading] service db wrote:\ndb | one\ndb | two\n"


def test_silence_is_told() -> None:
    silent = Told(name="db", data=b"")
    assert silent.whole() == b"\n[lading] service db wrote nothing\n"
    assert silent.last_words() == "; it wrote nothing"


def test_what_was_cut_is_told() -> None:
    assert b"only its last lines are kept:\n" in Told(name="db", data=b"x" * BYTES).whole()


def test_the_last_words_are_the_last_line_that_says_something_and_short() -> None:
    assert Told(name="db", data=b"one\n two\tthree \n\n").last_words() == (
        "; its last words: two three"
    )
    long = Told(name="db", data=b"\xff" * 500).last_words()
    assert (len(long), long[-1]) == (len("; its last words: ") + 120, "…")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Ready(port=5432, within=60), "did not listen on port 5432 within 1 min"),
        (Ready(command="pg_isready", within=5), "did not answer `pg_isready` within 5 s"),
    ],
)
def test_what_was_lacking_is_told_with_the_time(wanted: Ready, told: str) -> None:
    assert unready(wanted) == told
