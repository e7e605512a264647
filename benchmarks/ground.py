"""What all rows stand on: the engine, a small image, a git host's double, real repositories."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import docker

from benchmarks.processes import BrokenError, checked, until
from benchmarks.server import SECRET, Server, serving
from pipelines.events import ZERO_SHA
from scripts.parts import base_image
from scripts.parts.engine import engine
from scripts.parts.errors import PartError
from tests.doubles import Delivery, GitHubDouble, serve
from tests.doubles.github import Status
from tests.parts.git_server import Repository, git_server

ROOT = Path(__file__).parent.parent
CONTEXT = "lading/push/default"
FINAL = frozenset({"success", "failure", "error"})
CLEANED_SECONDS = 60.0


class Ground:
    """The parts, and how a row asks for what it measures."""

    def __init__(
        self,
        *,
        folder: Path,
        engine_url: str,
        client: docker.DockerClient,
        image: str,
        double: GitHubDouble,
        api_url: str,
        git_url: str,
    ) -> None:
        self.folder = folder
        self.client = client
        self.image = image
        """A small local image with a shell."""
        self.double = double
        self.owner = folder.name
        """Of all repositories here, so that what is built can be told from others' images."""
        self.engine_url = engine_url
        self._api_url = api_url
        self._git_url = git_url
        self._numbers = itertools.count(1)
        self.environment = {**os.environ, "DOCKER_HOST": engine_url, "DOCKER_BUILDKIT": "0"}
        """For programs that shall use the same engine."""

    @contextlib.contextmanager
    def server(
        self,
        *,
        core: int | None = None,
        log_limit: str = "256MiB",
        engine: str | None = None,
    ) -> Iterator[Server]:
        """A server with an empty database."""
        with serving(
            self.folder / f"server-{next(self._numbers)}",
            engine=engine or self.engine_url,
            api_url=self._api_url,
            git_url=self._git_url,
            token=self.double.token,
            core=core,
            log_limit=log_limit,
        ) as server:
            yield server
            if not server.process.killed:
                self.cleaned()

    def project(self, definition: str, files: dict[str, str] | None = None) -> Project:
        """A new repository with this pipeline, known to the double."""
        name = f"project-{next(self._numbers)}"
        home = self.folder / "git" / self.owner
        home.mkdir(parents=True, exist_ok=True)
        made = Project(Repository(home, name), self.double, f"{self.owner}/{name}")
        made.repository.write({".lading.yml": definition, **(files or {})})
        return made

    def docker(self, *arguments: str, into: IO[bytes] | None = None) -> float:
        """Run the bare tool on the same engine; the seconds it took."""
        started = time.perf_counter()
        checked(
            ["docker", *arguments],
            env=self.environment,
            stdout=subprocess.DEVNULL if into is None else into,
        )
        return time.perf_counter() - started

    def follow(self, *command: str) -> Iterator[str]:
        """Each line that `docker run --rm` of a command writes, as it comes."""
        with subprocess.Popen(
            ["docker", "run", "--rm", self.image, *command],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield from process.stdout or ()

    def run(self, *command: str, into: IO[bytes] | None = None) -> float:
        """`docker run --rm` of a command in the small image; the seconds it took."""
        return self.docker("run", "--rm", self.image, *command, into=into)

    def cleaned(self) -> None:
        """Wait until nothing of a run is on the engine: the next measurement is not to pay."""
        until(
            lambda: not self._left(), "the server cleaned up on the engine", within=CLEANED_SECONDS
        )

    def _left(self) -> list[str]:
        wanted = {"label": "lading.repository"}
        found = self.client.api.containers(all=True, filters=wanted)
        found += self.client.api.volumes(filters=wanted)["Volumes"] or []
        mine = f"{self.owner}/"
        return [
            str(one.get("Id") or one["Name"])
            for one in found
            if str(one["Labels"]["lading.repository"]).startswith(mine)
        ]

    def forget_images(self) -> None:
        """Remove the images that were built here."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.owner)
        for image in self.client.images.list():
            for tag in image.tags:
                if tag.startswith((f"lading/{slug}-", f"{slug}:")):
                    self.client.images.remove(tag, force=True)


class Project:
    """A repository that is pushed to, and the statuses beside its commits."""

    def __init__(self, repository: Repository, double: GitHubDouble, full_name: str) -> None:
        self.repository = repository
        self._double = double
        self._known = double.add_repository(full_name)
        self._full_name = full_name

    def push(self) -> str:
        """A new commit of the same files, pushed; its id."""
        return self.repository.pushed()

    def delivery(
        self, sha: str, *, ref: str = "refs/heads/main", before: str = ZERO_SHA
    ) -> Delivery:
        """The webhook of a push."""
        return self._double.push_delivery(
            self._known, sha=sha, secret=SECRET, ref=ref, before=before
        )

    def large_delivery(self, sha: str, *, ref: str, size: int, before: str = ZERO_SHA) -> Delivery:
        """The webhook of a push with as many commits as make at least `size` bytes."""
        body = json.loads(self.delivery(sha, ref=ref, before=before).body)
        commit = body["commits"][0]
        while len(json.dumps(body, separators=(",", ":"))) < size:
            number = len(body["commits"])
            body["commits"].insert(
                0, {**commit, "id": f"{number:040x}", "added": [f"src/part{number}.py"]}
            )
        return self._double.delivery("push", body, secret=SECRET)

    def final(self, sha: str, *, within: float = 120.0) -> Status:
        """The commit's final status, once the double has it.

        Raises:
            BrokenError: It is no success, or does not come.
        """

        def newest() -> Status | None:
            found = self._double.latest(self._full_name, sha, CONTEXT)
            return found if found is not None and found.state in FINAL else None

        until(newest, f"a final status of {sha[:12]}", within=within)
        status = newest()
        if status is None or status.state != "success":
            message = f"the run ended as {status and status.state}: {status and status.description}"
            raise BrokenError(message)
        return status


def run_number(status: Status) -> int:
    """The run that a status links to."""
    return int(str(status.target_url).rpartition("/")[2])


def delivered_to_final(server: Server, project: Project, shas: Sequence[str]) -> float:
    """Seconds from the first delivery of these pushes to the last one's final status."""
    deliveries = [project.delivery(sha) for sha in shas]
    begun = min([server.deliver(delivery) for delivery in deliveries])
    return max(project.final(sha).at for sha in shas) - begun


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """Start the parts; when the block ends, stop them and remove what was made.

    Raises:
        PartError: One cannot be had here.
    """
    if shutil.which("docker") is None:
        message = (
            "`docker`, the bare tool to compare with, is not on this machine. Install Docker's "
            "command line (Debian: `apt-get install docker.io`), and try again."
        )
        raise PartError(message)
    # On the disk that a server would use: what is accepted must be durable there.
    folder = ROOT / ".lading" / f"bench-{os.getpid()}"
    (folder / "git").mkdir(parents=True)
    double = GitHubDouble()
    try:
        with (
            engine(ROOT / ".lading" / "engine") as engine_url,
            contextlib.closing(docker.DockerClient(base_url=engine_url, timeout=60)) as client,
            serve(double.app) as api_url,
            git_server(folder / "git") as served,
        ):
            made = Ground(
                folder=folder,
                engine_url=engine_url,
                client=client,
                image=base_image.busybox(engine_url),
                double=double,
                api_url=api_url,
                git_url=served.url,
            )
            try:
                yield made
            finally:
                made.forget_images()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
