"""Running git so that no repository, name or environment can make it do anything else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from pipelines.problems import LadingError
from pipelines.values import Value

READ_TIMEOUT = 60.0  # seconds, for anything that needs no network
GRACE = 2.0  # seconds between SIGTERM (git removes its lock files) and SIGKILL
STDERR_LIMIT = 64 * 1024  # bytes kept for the message

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
    fault and has to be made anew.
    """

    def __init__(self, message: str, *, permanent: bool = False, damaged: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.damaged = damaged


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


@contextlib.asynccontextmanager
async def process(
    git_dir: Path,
    arguments: Sequence[str],
    env: Mapping[str, str],
    stdin: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A git process in a group of its own, which is ended when the block is left early."""
    started = await asyncio.create_subprocess_exec(
        "git",
        f"--git-dir={git_dir}",
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=git_dir.parent,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            await asyncio.shield(_end(started))


async def run(
    git_dir: Path,
    *arguments: str,
    env: Mapping[str, str],
    limit: int,
    timeout: float = READ_TIMEOUT,  # noqa: ASYNC109 - a limit on git, told in its own error
) -> Done:
    """Run git to its end.

    Args:
        git_dir: The repository; its parent folder must exist.
        arguments: The command and its arguments; names from outside only behind `--`.
        env: From :func:`environment`.
        limit: Bytes of output at most.
        timeout: Seconds.

    Raises:
        MirrorError: It took longer than `timeout`, or wrote more than `limit`.
    """
    async with process(git_dir, arguments, env) as started:
        assert started.stdout and started.stderr  # noqa: S101, PT018 - both are pipes
        try:
            async with asyncio.timeout(timeout):
                out, err = await asyncio.gather(
                    _read(started.stdout, limit), _read(started.stderr, STDERR_LIMIT, drain=True)
                )
                code = await started.wait()
        except TimeoutError:
            raise MirrorError(
                f"git {arguments[0]} did not end within {timeout:.0f} s and was stopped: "
                "check that the git host answers, then run again"
            ) from None
    return Done(code=code, out=out, err=err.decode("utf-8", "replace"))


async def _read(stream: asyncio.StreamReader, limit: int, *, drain: bool = False) -> bytes:
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: max(0, limit - len(kept))] if drain else chunk
        if len(kept) > limit:
            raise MirrorError(
                f"git answered with more than {limit} bytes: the repository is larger than "
                "Lading reads",
                permanent=True,
            )
    return bytes(kept)


async def _end(started: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await started.wait()
                break
