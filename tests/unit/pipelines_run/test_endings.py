from __future__ import annotations

import pytest

from pipelines.endings import describe, timed_out

LIMIT = 512 * 2**20


def test_137_with_a_kernel_kill_names_memory_and_the_limit() -> None:
    assert describe(137, out_of_memory=True, memory=LIMIT) == (
        "exit code 137: the container was killed, out of memory (limit 512 MiB)"
    )


def test_137_without_a_witness_says_most_likely() -> None:
    assert describe(137, memory=LIMIT) == (
        "exit code 137: the container was killed, most likely out of memory (limit 512 MiB)"
    )


def test_another_code_after_a_kernel_kill_still_names_memory() -> None:
    assert "out of memory" in describe(1, out_of_memory=True, memory=LIMIT)


def test_a_plain_failure_is_just_its_number() -> None:
    assert describe(1) == "exit code 1"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (125, "engine"),
        (126, "may not be executed"),
        (127, "not found"),
        (132, "SIGILL"),
        (134, "SIGABRT"),
        (139, "SIGSEGV"),
        (143, "SIGTERM"),
        (159, "SIGSYS"),
    ],
)
def test_known_codes_are_told_in_words(code: int, word: str) -> None:
    assert word in describe(code)
    assert describe(code).startswith(f"exit code {code}: ")


def test_a_time_limit_says_how_long_and_what_to_do() -> None:
    assert timed_out("30 min") == (
        "timed out after 30 min: make the step quicker or raise its `timeout`"
    )
    assert "the run did not end within 1 h" in timed_out("1 h", whole_run=True)
