"""What becomes of git processes that hang, flood or are no longer wanted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from server.hosts.port import Remote
from server.mirrors import MirrorError, MirrorKey, Mirrors, processes
from server.mirrors import mirrors as mirrors_module
from tests.parts.git_server import Repository

KEY = MirrorKey(host="ours", external_id="acme/web")
SLOW = MirrorKey(host="slow", external_id="acme/slow")
MAIN = "refs/heads/main"
SHA = "0123456789" * 4
STUBBORN = "trap '' TERM; exec sh -c 'while :; do sleep 1; done' stubborn {}"
SSH = Remote(url="ssh://git@lading.test/web.git", protocols="https:ssh:http")


def local(repository: Repository) -> Remote:
    return Remote(url=str(repository.bare), protocols="file")


@pytest.fixture
def mirrors(folder: Path) -> Mirrors:
    return Mirrors(folder / "mirrors")


@pytest.fixture
def silent() -> Iterator[Remote]:
    """A host that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/web.git"
        yield Remote(url=url, protocols="http")


@pytest.fixture
def ssh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program of one's own in the place of ssh."""

    def put(script: str) -> None:
        program = folder / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return put


def commands(*words: str) -> list[bytes]:
    """The command lines of the machine's processes in which all the words stand."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(path.read_bytes())
    return [line for line in found if all(word.encode() in line for word in words)]


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def hanging(
    mirrors: Mirrors, remote: Remote, *words: str
) -> AsyncIterator[asyncio.Task[Path]]:
    """A fetch that hangs, with a process in whose command line the words stand."""
    task = asyncio.create_task(mirrors.fetch(SLOW, remote, sha=SHA, ref=MAIN))
    await until(lambda: commands(*words))
    yield task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_host_that_sends_nothing_is_stopped_with_all_its_processes(
    folder: Path, silent: Remote
) -> None:
    mirrors = Mirrors(folder / "mirrors", fetch_timeout=0.5)

    with pytest.raises(MirrorError, match="did not end within") as seen:
        asyncio.run(mirrors.fetch(KEY, silent, sha=SHA, ref=MAIN))

    assert not seen.value.permanent
    assert not commands(silent.url)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_cancelled_fetch_has_no_process_when_it_ends(
    mirrors: Mirrors, silent: Remote, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def cancelled() -> None:
        async with hanging(mirrors, silent, "remote-http", silent.url):
            pass
        assert not commands(silent.url)

    run(cancelled())


def test_a_helper_that_ignores_the_polite_signal_is_killed(
    mirrors: Mirrors, folder: Path, ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.2)
    ssh(STUBBORN.format(folder))

    async def cancelled() -> None:
        async with hanging(mirrors, SSH, "stubborn", str(folder)):
            pass
        assert not commands("stubborn", str(folder))

    asyncio.run(cancelled())


def test_being_cancelled_twice_leaves_no_process_either(
    mirrors: Mirrors, folder: Path, ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.2)
    ssh(STUBBORN.format(folder))

    async def cancelled() -> None:
        async with hanging(mirrors, SSH, "stubborn", str(folder)) as task:
            task.cancel()
            await until(lambda: not commands("fetch", SSH.url))
        assert not commands("stubborn", str(folder))

    asyncio.run(cancelled())


def test_the_server_goes_on_while_a_cancelled_git_takes_its_time(
    mirrors: Mirrors, folder: Path, ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    ssh(STUBBORN.format(folder))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def cancelled() -> None:
        counting = asyncio.create_task(count())
        async with hanging(mirrors, SSH, "stubborn", str(folder)):
            before = turns
        assert turns >= before + 10
        counting.cancel()

    asyncio.run(cancelled())


def test_a_host_that_hangs_holds_up_no_other(
    mirrors: Mirrors, repository: Repository, silent: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "THREADS", 1)
    sha = repository.pushed({".lading.yml": "x"})

    async def beside() -> dict[str, bytes]:
        async with hanging(mirrors, silent, "remote-http", silent.url):
            git_dir = await mirrors.fetch(KEY, local(repository), sha=sha, ref=MAIN)
            return await mirrors.definitions(git_dir, sha)

    assert asyncio.run(beside()) == {".lading.yml": b"x"}


def test_a_fetch_that_waits_for_its_turn_is_cancelled_at_once(
    mirrors: Mirrors, silent: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "THREADS", 1)
    other = MirrorKey(host=SLOW.host, external_id="acme/other")

    async def cancelled() -> None:
        async with hanging(mirrors, silent, "remote-http", silent.url) as first:
            second = asyncio.create_task(mirrors.fetch(other, silent, sha=SHA, ref=MAIN))
            lane = mirrors._threads._lanes[SLOW.host]
            await until(lane._work_queue.qsize)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not first.done()
            assert not commands(other.folder)

    asyncio.run(cancelled())


def test_what_git_says_is_read_to_its_end_and_kept_in_part(
    folder: Path, ssh: Callable[[str], None]
) -> None:
    mirrors = Mirrors(folder / "mirrors", fetch_timeout=10)
    ssh("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")

    with pytest.raises(MirrorError, match=r"fetching the repository failed.* said: x+$") as seen:
        asyncio.run(mirrors.fetch(KEY, SSH, sha=SHA, ref=MAIN))

    assert len(str(seen.value)) < 1000


def test_an_answer_over_the_limit_is_refused(
    mirrors: Mirrors, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors_module, "DIFF_LIMIT", 1000)
    before = repository.pushed({"a": "1"})
    sha = repository.pushed({f"some-file-{number}": "1" for number in range(100)})

    async def changed() -> None:
        git_dir = await mirrors.fetch(KEY, local(repository), sha=sha, ref=MAIN, before=before)
        await mirrors.changed(git_dir, before, sha)

    with pytest.raises(MirrorError, match="more than 1000 bytes") as seen:
        asyncio.run(changed())

    assert seen.value.permanent
