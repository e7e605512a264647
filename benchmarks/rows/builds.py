"""A build of which every layer is in the builder's cache."""

from __future__ import annotations

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import Ground, Project, delivered_to_final, run_number
from benchmarks.server import Server

ALLOWANCE = 0.1  # seconds


def cached(ground: Ground, rounds: int) -> Figure:
    """The build step against `docker build` of the same files on the same engine."""
    files = files_of(ground.image)
    project = ground.project("build:\n  web: {}\n", files)
    context = ground.folder / "context"
    context.mkdir()
    for name, content in files.items():
        (context / name).write_text(content)

    def bare() -> float:
        return ground.docker("build", "--tag", f"{ground.owner}:bare", str(context))

    with ground.server() as server:
        _ours(ground, server, project)  # fills the cache
        bare()
        ours, its = interleaved(rounds, lambda: _ours(ground, server, project), bare)
    steps, whole = [step for step, _ in ours], [one for _, one in ours]
    return Figure(
        name="cached-build",
        work="a fully cached image build (the build step of a pushed commit)",
        to_reach=f"≤ the bare builder + {seconds(ALLOWANCE)}",
        ours=seconds(median(steps)),
        bare=seconds(median(its)),
        ratio=median(steps) / median(its),
        reached=median(steps) <= median(its) + ALLOWANCE,
        rounds=rounds,
        note=(
            f"ours {spread(steps)}, bare {spread(its)}; push delivery to final status "
            f"{seconds(median(whole))}; the bare tool is `docker build` with the engine's own "
            "builder"
        ),
        measured={
            "ours_step_seconds": tuple(steps),
            "ours_whole_seconds": tuple(whole),
            "bare_seconds": its,
        },
    )


def _ours(ground: Ground, server: Server, project: Project) -> tuple[float, float]:
    """Seconds of the step, and of the whole way."""
    sha = project.push()
    whole = delivered_to_final(server, project, [sha])
    step = server.step_seconds(run_number(project.final(sha)))
    ground.cleaned()
    return step, whole


def files_of(image: str) -> dict[str, str]:
    """A small commit, seven instructions that can all be cached."""
    return {
        "Dockerfile": (
            f"FROM {image}\n"
            "RUN mkdir -p /app\n"
            "COPY requirements.txt /app/\n"
            "RUN cat /app/requirements.txt > /app/installed\n"
            "COPY app.txt greeting.txt /app/\n"
            "WORKDIR /app\n"
            'CMD ["cat", "greeting.txt"]\n'
        ),
        "requirements.txt": "greeting==1.0\n",
        "app.txt": "an application\n" * 100,
        "greeting.txt": "hello\n",
    }
