"""Running git so that no repository, name or environment can make it do anything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.problems import LadingError
from pipelines.values import Value
from server.mirrors.processes import READING, Process, Threads

READ_TIMEOUT = 60.0  # seconds, for anything that needs no network

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")

_KEPT = frozenset(
    {
        *("PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "no_proxy", "NO_PROXY"),
        *PROXIES,
    }
)
"""What git may see of our own environment: how to reach the network, and whom to trust there."""

_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=5 "
    "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"
)


class MirrorError(LadingError):
    """git could not do what was asked.

    `permanent` is true where trying again cannot help; `damaged` where the mirror itself is at
    fault and has to be made anew; `refused` where the host does not let us, until somebody has
    mended the credential.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        damaged: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.damaged = damaged
        self.refused = refused


class RefGoneError(MirrorError):
    """A branch or tag has been deleted on its host."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"{ref} has been deleted on the git host", permanent=True)


class Done(Value):
    """A git command that has ended."""

    code: int
    out: bytes
    err: str


def environment(
    protocols: str = "none", extra: Mapping[str, str] | None = None, config: Path | None = None
) -> dict[str, str]:
    """The whole environment of a git process.

    Args:
        protocols: `GIT_ALLOW_PROTOCOL`; by default none, for commands that only read.
        extra: The credential of one remote; it cannot change what is set here.
        config: A file to stand in for the user's own git configuration.
    """
    return {
        **(extra or {}),
        **{name: value for name, value in os.environ.items() if name in _KEPT},
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config) if config else os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
    }


async def run(
    threads: Threads,
    git_dir: Path,
    *arguments: str,
    env: Mapping[str, str],
    limit: int,
    timeout: float = READ_TIMEOUT,  # noqa: ASYNC109 - a limit on git, told in its own error
    lane: str = READING,
) -> Done:
    """Run git to its end.

    Args:
        threads: Where to wait for it.
        git_dir: The repository; its parent folder must exist.
        arguments: The command and its arguments; names from outside only behind `--`.
        env: From :func:`environment`.
        limit: Bytes of output at most.
        timeout: Seconds, from git's start.
        lane: Of `threads`; the host's name for what talks to one.

    Raises:
        MirrorError: It took longer than `timeout`, or wrote more than `limit`.
    """

    def work(stop: int) -> Done:
        with Process(git_dir, arguments, env, stop=stop, timeout=timeout) as process:
            out = _read(process, limit)
            return Done(code=process.finish(), out=out, err=process.err)

    try:
        return await threads.do(lane, work)
    except TimeoutError:
        raise MirrorError(
            f"git {arguments[0]} did not end within {timeout:.0f} s and was stopped: "
            "check that the git host answers, then run again"
        ) from None


def _read(process: Process, limit: int) -> bytes:
    kept = bytearray()
    while piece := process.read():
        kept += piece
        if len(kept) > limit:
            raise MirrorError(
                f"git answered with more than {limit} bytes: the repository is larger than "
                "Lading reads",
                permanent=True,
            )
    return bytes(kept)
