"""The Dockerfile that a build step was made of: rendered, or the repository's own."""

from __future__ import annotations

from pipelines.plan import BuildWork
from pipelines.problems import LadingError
from pipelines.values import Value
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.store import Database
from server.store import repositories as repository_verbs
from server.store.rows import RunRow

LIMIT = 256 * 1024
"""Bytes of a Dockerfile that is shown; nobody writes a longer one by hand."""


class NoDockerfileError(LadingError):
    """There is nothing to show; the message says why."""


class Recipe(Value):
    """What one build of a run is made of."""

    key: str
    name: str
    """Of the Dockerfile, for people."""
    rendered: str | None
    """Its text, where a template gave it."""


def recipes(run: RunRow) -> list[Recipe]:
    """The Dockerfiles of a run, in the plan's order."""
    return [
        Recipe(key=step.key, name=step.work.recipe, rendered=step.work.rendered)
        for step in (run.plan.steps if run.plan else ())
        if isinstance(step.work, BuildWork)
    ]


class Dockerfiles:
    """Finds them in the plan, or in the mirror at the run's commit."""

    def __init__(self, database: Database, mirrors: Mirrors) -> None:
        self._database = database
        self._mirrors = mirrors

    async def text(self, run: RunRow, key: str) -> str:
        """The Dockerfile of a build step.

        Raises:
            NoDockerfileError: The step builds nothing, or the commit is no longer here.
        """
        recipe = next((each for each in recipes(run) if each.key == key), None)
        if recipe is None:
            raise NoDockerfileError(f"run {run.id} has no build {key[:150]!r}")
        if recipe.rendered is not None:
            return recipe.rendered
        raw = await self._own(run, recipe.name)
        if raw is None:
            raise NoDockerfileError(
                f"there is no {recipe.name} of at most {LIMIT // 1024} KiB at commit {run.sha[:12]}"
            )
        return raw.decode("utf-8", "replace")

    async def _own(self, run: RunRow, path: str) -> bytes | None:
        row = await self._database.read(repository_verbs.repository, run.repository)
        gone = f"commit {run.sha[:12]} is not in the mirror any more: run it again to fetch it"
        if row is None:
            raise NoDockerfileError(gone)
        git_dir = self._mirrors.path(MirrorKey(host=run.host, external_id=row.external_id))
        try:
            return await self._mirrors.file(git_dir, run.sha, path, limit=LIMIT)
        except MirrorError as error:
            raise NoDockerfileError(gone) from error
