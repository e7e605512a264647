from __future__ import annotations

import io
import os
import threading

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Buffer

from pipelines.executor import OWN, STDERR, STDOUT
from server.cli.console import Console
from server.cli.terminal import Paint

CLEAR = "\r\x1b[K"


class Screen:
    """A console and what stands on it."""

    def __init__(
        self,
        *keys: str,
        live: bool = False,
        colours: bool = False,
        stream: io.BytesIO | None = None,
    ) -> None:
        self.stream = stream or io.BytesIO()
        self.gone: list[bool] = []
        self.console = Console(
            self.stream,
            keys or ("test.a", "test.b"),
            paint=Paint(on=colours),
            live=live,
            gone=lambda: self.gone.append(True),
        )

    @property
    def text(self) -> str:
        return self.stream.getvalue().decode()

    def out(self, key: str, text: str, stream: int = STDOUT) -> None:
        self.console.write(key, stream, text.encode())


def test_lines_of_several_steps_stand_behind_their_keys() -> None:
    screen = Screen("test.unit", "build.a")

    screen.out("test.unit", "one\ntwo\n")
    screen.out("build.a", "three\n", OWN)

    assert screen.text == "test.unit | one\ntest.unit | two\nbuild.a   | three\n"


def test_a_line_that_comes_in_pieces_is_written_once() -> None:
    screen = Screen()

    screen.out("test.a", "on")
    screen.out("test.b", "other\n")
    screen.out("test.a", "e\n", STDERR)

    assert screen.text == "test.b | other\ntest.a | one\n"


def test_the_last_line_is_written_also_without_an_end() -> None:
    screen = Screen()

    with screen.console("test.a") as output:
        output.write(STDOUT, b"half")

    assert screen.text == "test.a | half\n"


def test_bytes_that_are_no_text_come_through() -> None:
    screen = Screen()

    screen.console.write("test.a", STDOUT, b"\xff\xfe\n")

    assert screen.stream.getvalue() == b"test.a | \xff\xfe\n"


def test_of_a_progress_bar_the_last_state_is_kept() -> None:
    screen = Screen()

    screen.out("test.a", "10 %\r50 %\r100 %\r\n")

    assert screen.text == "test.a | 100 %\n"


def test_where_nobody_looks_on_there_is_no_last_line() -> None:
    screen = Screen()

    screen.out("test.a", "half")
    screen.console.tick("test.a: running")
    screen.console.close()

    assert screen.text == "test.a | half\n"


def test_the_last_line_says_what_is_waited_for_and_makes_room() -> None:
    screen = Screen(live=True)

    screen.console.tick("test.a: pulling")
    screen.out("test.b", "one\n")
    screen.console.close()

    assert screen.text == f"test.a: pulling{CLEAR}test.b | one\ntest.a: pulling{CLEAR}"


def test_an_unfinished_line_is_shown_and_goes_on_where_it_was() -> None:
    screen = Screen(live=True)

    screen.out("test.a", "..")
    screen.console.tick("")
    screen.out("test.a", ".")
    screen.console.tick("")
    screen.out("test.a", "!\n")

    assert screen.text == "test.a | ..\rtest.a | ...\rtest.a | ...!\n"


def test_another_steps_line_does_not_run_into_an_unfinished_one() -> None:
    screen = Screen(live=True)

    screen.out("test.a", "..")
    screen.console.tick("")
    screen.out("test.b", "other\n")
    screen.out("test.a", "!\n")

    assert screen.text == "test.a | ..\ntest.b | other\ntest.a | ..!\n"


def test_colours_pass_to_a_terminal_and_nothing_else_that_it_would_obey() -> None:
    screen = Screen(live=True)

    screen.out("test.a", "\x1b[31mred\x1b[0m \x1b[2J\x1b[3A\x1b]0;title\x07\x1bcplain\n")

    assert screen.text == "test.a | \x1b[31mred\x1b[0m plain\x1b[0m\n"


def test_words_about_a_step_stand_below_its_own() -> None:
    screen = Screen()

    screen.out("test.a", "half")
    screen.console.tell("test.a", "passed in 1 s")

    assert screen.text == "test.a | half\ntest.a | passed in 1 s\n"


class Closed(io.BytesIO):
    def write(self, _data: object) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_away_is_told_of_once_and_breaks_nothing() -> None:
    gone: list[bool] = []
    console = Console(
        Closed(), ["a"], paint=Paint(on=False), live=False, gone=lambda: gone.append(True)
    )

    console.write("a", STDOUT, b"one\n")
    console.say("two")

    assert gone == [True]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_however_output_is_cut_the_same_lines_come_out(pieces: list[bytes]) -> None:
    whole, cut = Screen(), Screen()

    with whole.console("test.a") as output:
        output.write(STDOUT, b"".join(pieces))
    with cut.console("test.a") as output:
        for piece in pieces:
            output.write(STDOUT, piece)

    assert whole.stream.getvalue() == cut.stream.getvalue()


class Slow(io.BytesIO):
    """A stream that lets others go first in the middle of a piece."""

    def write(self, data: Buffer) -> int:
        pieces = bytes(data)
        for piece in (pieces[:5], pieces[5:]):
            os.sched_yield()
            super().write(piece)
            os.sched_yield()
        return len(pieces)


def test_threads_do_not_cut_into_each_others_lines() -> None:
    screen = Screen(stream=Slow())

    def flood(key: str) -> None:
        for _ in range(200):
            screen.out(key, "x" * 50 + "\n")

    threads = [threading.Thread(target=flood, args=[key]) for key in ("test.a", "test.b")]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wanted = {f"{key} | {'x' * 50}" for key in ("test.a", "test.b")}
    lines = screen.text.splitlines()
    assert set(lines) == wanted
    assert len(lines) == 400
