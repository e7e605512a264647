"""How a process ended, in words."""

from __future__ import annotations

from pipelines.durations import format_size

_WORDS = {
    125: "the engine could not start it",
    126: "a command was found but may not be executed; check its mode and its first line (`#!`)",
    127: "a command was not found; is it installed in the image?",
    128: "a command asked to exit with a number that is none",
}

# https://man7.org/linux/man-pages/man7/signal.7.html: a shell tells 128 + the signal's number.
_SIGNALS = {
    1: "a hang-up signal (SIGHUP)",
    2: "an interrupt (SIGINT)",
    3: "a quit signal (SIGQUIT)",
    4: "an illegal instruction (SIGILL); was the image built for another kind of machine?",
    6: "its own abort (SIGABRT)",
    7: "a bus error (SIGBUS)",
    8: "an arithmetic error (SIGFPE)",
    11: "a memory access fault (SIGSEGV)",
    13: "writing to a closed pipe (SIGPIPE)",
    15: "a request to end (SIGTERM)",
    24: "its CPU time limit (SIGXCPU)",
    25: "its file size limit (SIGXFSZ)",
    31: "a system call that is not allowed (SIGSYS)",
}
KILLED = 137
"""128 + SIGKILL: by the kernel for want of memory, or by whoever stopped it."""


def describe(exit_code: int, *, out_of_memory: bool = False, memory: int | None = None) -> str:
    """One sentence for an exit code that is not 0: `exit code 127: a command was not found; …`.

    Args:
        exit_code: What the container ended with.
        out_of_memory: The engine saw the kernel kill something in it for want of memory.
        memory: The container's limit in bytes.
    """
    limit = f" (limit {format_size(memory)})" if memory else ""
    told = f"exit code {exit_code}"
    if exit_code == KILLED:
        sure = "" if out_of_memory else "most likely "
        return f"{told}: the container was killed, {sure}out of memory{limit}"
    if out_of_memory:
        return f"{told}: something in the container was killed, out of memory{limit}"
    if words := _WORDS.get(exit_code):
        return f"{told}: {words}"
    if signal := _SIGNALS.get(exit_code - 128):
        return f"{told}: ended by {signal}"
    return told


def timed_out(limit: str, *, whole_run: bool = False) -> str:
    """The sentence for a step that was stopped at its time limit, `limit` as people write it."""
    if whole_run:
        return f"timed out: the run did not end within {limit}; raise its `timeout` or do less"
    return f"timed out after {limit}: make the step quicker or raise its `timeout`"
