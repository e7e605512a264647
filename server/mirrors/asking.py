"""Asking a git host what its refs point at now, without fetching anything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from server.hosts.port import Remote
from server.mirrors import command, failures, folders, spelling
from server.mirrors.command import MirrorError
from server.mirrors.processes import Threads

CONNECT_TIMEOUT = 5.0  # seconds
LISTING_LIMIT = 64 * 1024 * 1024  # bytes; a ref takes about 70
BRANCHES_AND_TAGS = ("refs/heads/*", "refs/tags/*")


async def listing(
    threads: Threads, folder: Path, remote: Remote, *, lane: str, wanted: Sequence[str]
) -> str:
    """Lines of id, tab and ref, for those refs that the host has.

    Args:
        threads: That wait for git.
        folder: Of the mirrors.
        remote: Where the repository is.
        lane: As in `Threads.do`.
        wanted: Whole refs, or `BRANCHES_AND_TAGS`; with `^{}` behind one, the commit of an
            annotated tag.

    Raises:
        MirrorError: The host cannot be asked, or one is no ref's name.
    """
    for name in wanted if wanted != BRANCHES_AND_TAGS else ():
        if not spelling.is_ref(name.removesuffix("^{}")):
            raise MirrorError(f"{name[:80]!r} is no name that git allows", permanent=True)
    git_dir = await _nothing(folder)
    await knock(remote)
    done = await command.run(
        threads,
        git_dir,
        *("ls-remote", "--quiet", "--", remote.url, *wanted),
        env=command.environment(remote.protocols, remote.env, folders.trust(git_dir, remote)),
        limit=LISTING_LIMIT,
        lane=lane,
    )
    if done.code != 0:
        raise failures.failure("asking for branches", done.err, url=remote.url, secrets=remote.env)
    return done.out.decode("utf-8", "replace")


async def _nothing(folder: Path) -> Path:
    """A repository with our settings and no objects, to ask from.

    The mirror itself may not be there yet, and what kind of ids it needs is not known before
    its first commit is.
    """
    nothing = folder / "nothing.git"
    if not folders.exists(nothing):
        await asyncio.to_thread(folders.create, nothing, 40)
    return nothing


async def knock(remote: Remote) -> None:
    """See whether the host takes connections: git itself would wait for minutes.

    git limits how slowly a host may send (`http.lowSpeedTime`), but has no limit for connecting;
    ssh has its own.
    """
    parts = urlsplit(remote.url)
    if parts.scheme not in {"http", "https"} or any(map(os.environ.get, command.PROXIES)):
        return
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            )
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {CONNECT_TIMEOUT:.0f} s"
        raise failures.failure("fetching the repository", f"Failed to connect: {reason}") from None
    writer.close()
