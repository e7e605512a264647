"""`scripts/reproducibility`: build each sample many times without cache, on two engines."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.engine.client import Engine
from pipelines.engine.containers import Limits
from pipelines.engine.interruption import Interruption, Patience, Watchdog
from pipelines.images.build import Building
from pipelines.images.context import read_context
from pipelines.images.exact.shelf import Shelf
from pipelines.images.session import ImageSession
from pipelines.plan import BuildWork
from pipelines.source import GitSource
from pipelines.testing import MemoryOutput
from scripts.again.samples import samples
from scripts.parts import base_image
from scripts.parts.engine import engine, private_engine
from scripts.parts.errors import PartError

STATE = Path(__file__).parents[2] / ".lading"
_THREADS = 4


def main() -> int:
    """Exit code: 0 when every build of a sample gave one digest, 1 when any did not."""
    parser = argparse.ArgumentParser(prog="scripts/reproducibility", description=__doc__)
    parser.add_argument("--builds", type=int, default=10, help="of each, on each engine (10)")
    builds = parser.parse_args().builds
    STATE.mkdir(exist_ok=True)
    found: dict[str, Counter[str]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="again-", dir=STATE) as name:
            folder = Path(name)
            with engine(STATE / "engine") as first:
                _builds(first, folder, builds, found)
            with private_engine(folder / "engine") as second:
                _builds(second.url, folder, builds, found)
    except PartError as error:
        print(f"\nIt failed to begin. {error}", file=sys.stderr)
        return 1
    for sample, digests in found.items():
        told = ", ".join(f"{digest[:19]}… ×{count}" for digest, count in digests.items())
        print(f"{'same' if len(digests) == 1 else 'DIFFERENT'}  {sample}: {told}")
    return 0 if all(len(digests) == 1 for digests in found.values()) else 1


def _builds(url: str, folder: Path, builds: int, found: dict[str, Counter[str]]) -> None:
    made = samples(base_image.busybox(url), base_image.python(url))
    with ThreadPoolExecutor(_THREADS) as threads:
        used = Engine(url, threads)
        try:
            for name, files in made.items():
                source = _commit(folder / name, files)
                for number in range(1, builds + 1):
                    digest = asyncio.run(_digest(used, source, folder))
                    found.setdefault(name, Counter())[digest] += 1
                    print(f"{name} {number}/{builds} on {used.place}: {digest[:19]}…", flush=True)
        finally:
            used.close()


async def _digest(used: Engine, source: GitSource, folder: Path) -> str:
    """Of one build without cache, of which nothing is known from before."""
    await used.connected()
    session = ImageSession(
        engine=used,
        logins={},
        output=MemoryOutput(),
        interruption=Interruption(),
        watchdog=Watchdog(used, Patience()),
    )
    work = BuildWork()
    context = read_context(source, work)
    memory = Limits().memory
    building = Building(session, work, source, context, memory=memory, fresh=True)
    await building.prepare()
    log = await building.run()
    if log.error or log.image_id is None:
        raise PartError(f"a sample does not build: {log.error}")
    with tempfile.TemporaryDirectory(prefix="layers-", dir=folder) as shelf:
        exact, _ = await building.record(Shelf(Path(shelf)), log.image_id, {"sample": "yes"})
    await used.call(used.client.remove_image, log.image_id, force=True)
    return exact.digest


def _commit(folder: Path, files: Mapping[str, str]) -> GitSource:
    if not folder.exists():
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        _git(folder, "init", "--quiet")
        _git(folder, "add", "--all")
        _git(folder, "commit", "--quiet", "--message", "sample")
    return GitSource(folder / ".git", _git(folder, "rev-parse", "HEAD"))


def _git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=sample", "-c", "user.email=sample@example.com"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
