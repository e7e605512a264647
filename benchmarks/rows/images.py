"""Images in their one form: normalised, and pushed by our own hands."""

from __future__ import annotations

import json
import os
import sys

from benchmarks.figures import Figure, interleaved, median, megabytes, seconds, spread
from benchmarks.ground import Ground, Project, delivered_to_final, run_number
from benchmarks.processes import checked
from benchmarks.rows.builds import files_of
from benchmarks.server import Server
from scripts.parts.registry import registry

PUSHED_ALLOWANCE = 0.15  # seconds
NORMALISED_SECONDS = 3.0
NORMALISED_MEMORY = 100.0  # MB
BELOW, ABOVE = 400, 100  # MB


def pushed(ground: Ground, rounds: int) -> Figure:
    """Build and push of a commit whose layers are all cached, against a cached `docker build`."""
    files = files_of(ground.image)
    context = ground.folder / "context-pushed"
    context.mkdir()
    for name, content in files.items():
        (context / name).write_text(content)

    def bare() -> float:
        return ground.docker("build", "--tag", f"{ground.owner}:bare", str(context))

    with registry(ground.folder / "registry") as there, ground.server() as server:
        to = f"{there.address}/{ground.owner}/web"
        project = ground.project(f"build:\n  web: {{}}\npush:\n  web:\n    to: {to}\n", files)
        _ours(ground, server, project)  # fills the cache
        bare()
        ours, its = interleaved(rounds, lambda: _ours(ground, server, project), bare)
    return Figure(
        name="cached-push",
        work="a fully cached image build, normalised and pushed (build and push step)",
        to_reach=f"≤ the bare builder + {seconds(PUSHED_ALLOWANCE)}",
        ours=seconds(median(ours)),
        bare=seconds(median(its)),
        ratio=median(ours) / median(its),
        reached=median(ours) <= median(its) + PUSHED_ALLOWANCE,
        rounds=rounds,
        note=f"ours {spread(ours)}, bare {spread(its)}; the bare tool builds and does not push",
        measured={"ours_seconds": ours, "bare_seconds": its},
    )


def _ours(ground: Ground, server: Server, project: Project) -> float:
    """Seconds from the start of the build to the end of the push."""
    sha = project.push()
    delivered_to_final(server, project, [sha])
    took = server.steps_seconds(run_number(project.final(sha)))
    ground.cleaned()
    return took


def normalised(ground: Ground, rounds: int) -> Figure:
    """An image of 500 MB whose top 100 MB are new, read from the engine and written anew."""
    base, shelf = f"{ground.owner}:below", ground.folder / "layers"
    _build(ground, base, f"FROM {ground.image}\nRUN {_filling(BELOW, 'below')}\n")
    below = _layers(ground, base)
    found = [_round(ground, base, below, str(shelf), number) for number in range(rounds + 1)][1:]
    took, its = (tuple(one[key] for one in found) for key in ("seconds", "save_seconds"))
    peaks = tuple(megabytes(int(one["peak_kib"])) for one in found)
    return Figure(
        name="normalise",
        work=f"an image of {BELOW + ABOVE} MB whose top {ABOVE} MB are new, normalised on one core",
        to_reach=f"≤ {seconds(NORMALISED_SECONDS)}, ≤ {NORMALISED_MEMORY:.0f} MB of memory",
        ours=f"{seconds(median(took))}, {median(peaks):.0f} MB",
        bare=seconds(median(its)),
        ratio=median(took) / median(its),
        reached=median(took) <= NORMALISED_SECONDS and median(peaks) <= NORMALISED_MEMORY,
        rounds=rounds,
        note=(
            f"{spread(took)}, of which our own processor time "
            f"{seconds(median([one['processor_seconds'] for one in found]))}; the rest the engine "
            f"takes to hand the image out; memory is the peak of a process of its own, idle "
            f"{median([megabytes(int(one['idle_kib'])) for one in found]):.0f} MB"
        ),
        measured={"seconds": took, "save_seconds": its, "peak_megabytes": peaks},
    )


def _round(ground: Ground, base: str, below: int, shelf: str, number: int) -> dict[str, float]:
    """One image of its own; the first round makes the base known and does not count."""
    name = f"{ground.owner}:whole"
    _build(ground, name, f"FROM {base}\nRUN {_filling(ABOVE, str(number))}\n")
    command = [sys.executable, "-m", "benchmarks.normalising", ground.engine_url, name]
    pinned = ["taskset", "--cpu-list", "0", *command, str(below), shelf]
    done = checked(pinned, env=dict(os.environ))
    told: dict[str, float] = json.loads(done.stdout)
    return told | {"save_seconds": ground.docker("save", name)}


def _filling(size: int, name: str) -> str:
    """A command that writes so many MB, half of which compress well, as 100 files."""
    half = size * 10_000 // 2
    return (
        f"mkdir /{name} && for n in $(seq 100); do "
        f"head -c {half} /dev/urandom > /{name}/random-$n && "
        f"yes {name}-$n | head -c {half} > /{name}/text-$n; done"
    )


def _build(ground: Ground, name: str, dockerfile: str) -> None:
    folder = ground.folder / "dockerfiles"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    ground.docker("build", "--tag", name, str(folder))


def _layers(ground: Ground, name: str) -> int:
    return len(ground.client.images.get(name).attrs["RootFS"]["Layers"])
