"""Services, a cache and a second try, from a push to the run's page; and what a fork may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import docker
import httpx2
import pytest

from pipelines.engine.caches import LABEL
from pipelines.progress import State
from tests.doubles.base import wait_until
from tests.integration.flow.conftest import SECRET, Flow, server_parts

__all__ = ["server_parts"]

DEFINITION = """\
test:
  unit:
    image: IMAGE
    commands:
      - nc -w 5 db 5432 < /dev/null
      - cat .cache/a || echo nothing yet
      - mkdir -p .cache && echo "WORD" > .cache/a
      - test -e again || { touch again; exit 3; }
    services:
      db:
        image: IMAGE
        args: [sh, -c, "exec nc -ll -p 5432 -e echo hello"]
        ready: {port: 5432}
    cache: {key: tool, paths: .cache}
    retry: 2
"""


@pytest.fixture
def tidied(flow: Flow, docker_client: docker.DockerClient) -> Iterator[Flow]:
    """A flow whose caches are removed."""
    yield flow
    filters = {"label": [f"lading.server={flow.server.lading.server_id}", LABEL]}
    for volume in docker_client.api.volumes(filters=filters)["Volumes"] or []:
        docker_client.api.remove_volume(volume["Name"])


def written(flow: Flow, word: str) -> dict[str, str]:
    return {".lading.yml": DEFINITION.replace("IMAGE", flow.image).replace("WORD", word)}


def log(flow: Flow, run: int) -> str:
    flow.server.ended(run)
    assert flow.server.states(run) == {"test.unit": State.SUCCESS}
    return flow.server.log(run, "test.unit")


def test_a_step_has_its_service_and_its_cache_and_passes_at_its_second_try(tidied: Flow) -> None:
    run = tidied.run_of(tidied.tell_github(tidied.push(written(tidied, "main"))))

    said = log(tidied, run)

    assert said.count("hello\n") == 2
    assert "[lading] try 2 of 3: exit code 3\n" in said
    assert "[lading] cache tool: kept " in said
    (step,) = tidied.server.steps(run)
    assert step.outcome is not None
    assert (step.outcome.tries, step.outcome.message) == (2, "passed at try 2 of 3")
    (told,) = tidied.server.api.get(f"/runs/{run}/attempts/1/steps").json()["items"]
    assert told["tries"] == 2
    token = tidied.server.api.headers["Authorization"].removeprefix("Bearer ")
    page = httpx2.get(f"{tidied.server.url}/runs/{run}", cookies={"lading_token": token}).text
    assert "passed at try 2 of 3" in page
    assert ">try 2</span>" in page


def test_a_fork_reads_the_default_branchs_cache_and_writes_none(tidied: Flow) -> None:  # T5, T26
    base = tidied.push(written(tidied, "main"))
    log(tidied, tidied.run_of(tidied.tell_github(base)))
    sha = tidied.push(written(tidied, "poison"), ref="refs/pull/8/head")
    fork = tidied.github.add_repository(f"mallory/{tidied.web.full_name.split('/')[1]}")
    delivery = tidied.github.pull_request_delivery(
        tidied.web, number=8, sha=sha, base_sha=base, secret=SECRET, fork=fork
    )
    answer = tidied.server.deliver("github", delivery).json()
    run = tidied.run_of(answer["delivery"])
    assert tidied.server.api.post(f"/runs/{run}/approve").status_code == 200
    forked = log(tidied, run)
    assert "\nmain\n" in forked
    assert "[lading] cache tool: not written: pull request\n" in forked

    again = tidied.push(written(tidied, "again"))
    said = log(tidied, tidied.run_of(tidied.tell_github(again, before=base)))

    assert "[lading] cache tool: restored " in said
    assert "\nmain\n" in said
    assert "poison" not in said


def test_nothing_but_the_cache_is_left_on_the_engine(
    tidied: Flow, left_on_engine: Callable[[], list[str]]
) -> None:
    log(tidied, tidied.run_of(tidied.tell_github(tidied.push(written(tidied, "main")))))

    def tidy() -> bool:
        return all("-cache-" in name for name in left_on_engine())

    wait_until(tidy, "everything else is cleaned up", 20)
