"""One image into its one form, in a process of its own: prints seconds and the peak of memory.

Usage: python -m benchmarks.normalising ENGINE IMAGE LAYERS-BELOW SHELF
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.engine.client import Engine
from pipelines.engine.interruption import Interruption, Patience, Watchdog
from pipelines.images.exact.making import Image, make
from pipelines.images.exact.shelf import Shelf
from pipelines.images.session import ImageSession
from pipelines.testing import MemoryOutput

TIME = 1_700_000_000


async def _made(url: str, image: str, below: int, shelf: Path) -> dict[str, float]:
    with ThreadPoolExecutor(2) as threads:
        engine = Engine(url, threads)
        try:
            await engine.connected()
            client: Any = engine.client
            told = client.inspect_image(image)
            diff_ids = tuple(told["RootFS"]["Layers"])
            session = ImageSession(
                engine=engine,
                logins={},
                output=MemoryOutput(),
                interruption=Interruption(),
                watchdog=Watchdog(engine, Patience()),
            )
            whole = Image(image=str(told["Id"]), diff_ids=diff_ids, below=below)
            before, started, busy = _memory(), time.perf_counter(), time.process_time()
            await make(
                session,
                Shelf(shelf),
                whole,
                times=lambda _: [TIME] * (len(diff_ids) - below),
                created=TIME,
                labels={},
            )
            return {
                "seconds": time.perf_counter() - started,
                "processor_seconds": time.process_time() - busy,
                "idle_kib": before,
                "peak_kib": _memory("VmHWM"),
            }
        finally:
            engine.close()


def _memory(field: str = "VmRSS") -> float:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    engine_url, name, layers, folder = sys.argv[1:]
    print(json.dumps(asyncio.run(_made(engine_url, name, int(layers), Path(folder)))))
