"""Keys of the pipeline file, each seen to do on the engine what the reference says."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import docker
import httpx2
import pytest

from pipelines.progress import State
from server import clock
from server.store import repositories, timetable
from server.store.rows import Bounds, ScheduleRow
from server.timetable import Timetable
from tests.integration.flow.conftest import Flow, server_parts

__all__ = ["server_parts"]


def ran(flow: Flow, definition: str) -> tuple[int, dict[str, State]]:
    """Push a repository with that definition; its run, and how the steps ended."""
    sha = flow.push({".lading.yml": definition.replace("IMAGE", flow.image)})
    run = flow.run_of(flow.tell_github(sha))
    flow.server.ended(run)
    return run, flow.server.states(run)


def test_a_matrix_runs_each_combination_with_its_own_values(flow: Flow) -> None:
    run, states = ran(
        flow,
        """\
test:
  unit:
    image: IMAGE
    matrix: {shell: [ash, sh], level: [a]}
    commands: echo "shell is $CI_MATRIX_SHELL at $CI_MATRIX_LEVEL in $CI_STEP"
  after:
    image: IMAGE
    needs: test.unit
    commands: echo all
""",
    )
    assert states == {
        "test.unit (ash, a)": State.SUCCESS,
        "test.unit (sh, a)": State.SUCCESS,
        "test.after": State.SUCCESS,
    }
    assert "shell is ash at a in unit\n" in flow.server.log(run, "test.unit (ash, a)")
    assert "shell is sh at a in unit\n" in flow.server.log(run, "test.unit (sh, a)")


def test_a_failure_that_is_allowed_stops_nothing_and_is_told(flow: Flow) -> None:
    run, states = ran(
        flow,
        """\
test:
  lint: {image: IMAGE, commands: exit 3, allow_failure: true}
  unit: {image: IMAGE, commands: "true", needs: test.lint}
""",
    )
    assert states == {"test.lint": State.FAILURE, "test.unit": State.SUCCESS}
    ended = flow.server.run(run)
    assert ended.state is State.SUCCESS
    assert ended.sentence.startswith("1 step passed, 1 failed and may,")


def test_a_step_for_failures_runs_after_one_and_only_then(flow: Flow) -> None:
    definition = """\
test:
  unit: {image: IMAGE, commands: exit CODE}
  report: {image: IMAGE, commands: echo told, needs: test.unit, when: {status: failure}}
  always: {image: IMAGE, commands: echo tidy, needs: test.unit, when: {status: [success, failure]}}
"""
    run, failed = ran(flow, definition.replace("CODE", "1"))
    assert failed == {
        "test.unit": State.FAILURE,
        "test.report": State.SUCCESS,
        "test.always": State.SUCCESS,
    }
    assert flow.server.run(run).state is State.FAILURE
    run, passed = ran(flow, definition.replace("CODE", "0"))
    assert passed == {
        "test.unit": State.SUCCESS,
        "test.report": State.SKIPPED,
        "test.always": State.SUCCESS,
    }
    assert flow.server.run(run).state is State.SUCCESS


def test_a_step_gets_no_more_memory_than_it_asks_for(flow: Flow) -> None:
    run, states = ran(
        flow,
        """\
test:
  greedy:
    image: IMAGE
    resources: {memory: 16MiB, cpus: 0.5}
    commands: head -c 64m /dev/zero | tail
""",
    )
    assert states == {"test.greedy": State.FAILURE}
    assert "out of memory (limit 16 MiB)" in flow.server.run(run).sentence


def test_a_step_that_asks_for_more_than_the_server_allows_is_told_its_bound(flow: Flow) -> None:
    sha = flow.push(
        {
            ".lading.yml": f"test: {{a: {{image: {flow.image}, commands: b, "
            "resources: {memory: 64GiB}}}"
        }
    )
    run = flow.run_of(flow.tell_github(sha))
    ended = flow.server.ended(run)
    assert ended.state is State.ERROR
    assert "asks for 64 GiB of memory; this server allows a step 256 MiB" in ended.sentence


SECRET = "correct horse/battery+staple"


def keep(flow: Flow, name: str = "npm", *, bounds: Bounds | None = None) -> None:
    """Store a secret of the test's own repository, which the server has met."""
    lading = flow.server.lading
    (row,) = lading.database.run(repositories.repositories_named, flow.web.full_name)
    setting = lading.secrets.set(
        repository=row.id, name=name, value=SECRET, bounds=bounds or Bounds(), by="ada"
    )
    asyncio.run_coroutine_threadsafe(setting, flow.server.loop).result(30)


@pytest.fixture
def known(flow: Flow) -> Flow:
    """A repository that has been pushed to before."""
    ran(flow, "test: {first: {image: IMAGE, commands: echo hello}}")
    return flow


TELLING = """\
test:
  telling:
    image: IMAGE
    env: {TOKEN: {from_secret: npm}}
    commands:
      - echo "token is $TOKEN."
      - printf %s "user:$TOKEN" | base64
      - printf %s "$TOKEN" | head -c 9; sleep 0.3; printf %s "$TOKEN" | tail -c +10; echo
      - echo "$TOKEN" > left-behind; test ${#TOKEN} = 28
  finding: {image: IMAGE, needs: test.telling, commands: cat left-behind; test -z "$TOKEN"}
"""


def test_a_secret_reaches_the_step_that_names_it_and_no_output(known: Flow) -> None:
    keep(known)

    run, states = ran(known, TELLING)

    assert states == {"test.telling": State.SUCCESS, "test.finding": State.SUCCESS}
    for step in states:
        log = known.server.log(run, step)
        assert SECRET not in log
        assert "battery" not in log
        assert "Y29ycmVjdC" not in log
    assert f"token is {'*' * len(SECRET)}.\n" in known.server.log(run, "test.telling")


def test_a_secret_is_in_the_container_of_its_step_alone(
    known: Flow, docker_client: docker.DockerClient
) -> None:
    keep(known)
    sha = known.push(
        {
            ".lading.yml": TELLING.replace("IMAGE", known.image)
            + f"  other: {{image: {known.image}, needs: [], commands: sleep 30}}\n"
        }
    )
    run = known.run_of(known.tell_github(sha))
    known.server.running(run, "test.other")
    filters = {"label": [f"lading.run={run}", f"lading.server={known.server.lading.server_id}"]}

    holding = {
        found["Config"]["Labels"]["lading.step"]
        for each in docker_client.api.containers(all=True, filters=filters)
        if SECRET in str(found := docker_client.api.inspect_container(each["Id"]))
    }

    assert holding <= {"test.telling"}
    known.server.api.post(f"/runs/{run}/cancel")
    known.server.ended(run)


def test_a_step_without_its_secret_says_how_to_set_it(known: Flow) -> None:
    run, states = ran(known, TELLING)
    assert states == {"test.telling": State.ERROR, "test.finding": State.SKIPPED}
    assert "there is no secret npm: `lading secret set npm" in known.server.run(run).sentence


def test_a_secret_for_another_branch_is_not_given(known: Flow) -> None:
    keep(known, bounds=Bounds(branches=("release/*",)))
    run, states = ran(known, TELLING)
    assert states["test.telling"] is State.ERROR
    assert "secret npm is for branch release/* alone" in known.server.run(run).sentence


ASKING = """\
when: [{event: push}, {event: manual, inputs: {level: {type: choice, options: [smoke, full]}}}]
test: {unit: {image: IMAGE, commands: "echo level is $CI_INPUT_LEVEL."}}
"""


def asked(flow: Flow, **inputs: str) -> httpx2.Response:
    """A run by hand of the default branch."""
    body = {"repository": flow.web.full_name, "ref": "main", "inputs": inputs}
    return flow.server.api.post("/runs", json=body)


def test_what_a_person_gives_reaches_the_steps(flow: Flow) -> None:
    ran(flow, ASKING)

    answer = asked(flow, level="full")

    assert answer.status_code == 201, answer.text
    run = int(answer.json()["pipelines"][0]["run"].rpartition("/")[2])
    flow.server.ended(run)
    assert "level is full.\n" in flow.server.log(run, "test.unit")


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ({}, "input `level` of default has no default: give it a value"),
        ({"level": "deep"}, "`deep` is none of smoke, full"),
        ({"level": "full", "depth": "1"}, "there is no input `depth`: there are level"),
    ],
)
def test_what_a_person_gives_wrongly_starts_nothing_and_says_what_would_fit(
    flow: Flow, inputs: dict[str, str], word: str
) -> None:
    run, _ = ran(flow, ASKING)

    answer = asked(flow, **inputs)

    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    newest = flow.server.api.get("/runs", params={"repository": flow.web.full_name}).json()
    assert [one["id"] for one in newest["items"]] == [run]


NIGHTLY = """\
when: [{event: push}, {event: schedule, cron: "0 3 * * *", timezone: Europe/Berlin, missed: latest}]
test: {unit: {image: IMAGE, commands: echo $CI_EVENT}}
"""


class Night:
    """The timetable of one repository, with a clock that the test sets."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.time = clock.now()
        lading = flow.server.lading
        self.timetable = Timetable(
            database=lading.database, clock=lambda: self.time, start=lading.intake.start_slot
        )

    def rows(self) -> list[ScheduleRow]:
        name = self.flow.web.full_name
        rows = self.flow.server.lading.database.run(timetable.all_schedules)
        return [row for row in rows if row.full_name == name]

    def look(self) -> None:
        looking = self.timetable.look()
        asyncio.run_coroutine_threadsafe(looking, self.flow.server.loop).result(60)

    def runs(self) -> list[str]:
        """The events of the repository's runs, oldest first."""
        found = self.flow.server.api.get("/runs", params={"repository": self.flow.web.full_name})
        return [one["event"] for one in reversed(found.json()["items"])]


def test_a_time_that_comes_starts_its_pipeline_once(flow: Flow) -> None:
    ran(flow, NIGHTLY)
    night = Night(flow)
    (row,) = night.rows()

    night.time = row.next_at - timedelta(seconds=1)
    night.look()
    assert night.runs() == ["push"]

    night.time = row.next_at + timedelta(seconds=3)
    night.look()
    night.look()

    assert night.runs() == ["push", "schedule"]
    (later,) = night.rows()
    assert later.next_at - row.next_at in (
        timedelta(hours=23),
        timedelta(days=1),
        timedelta(hours=25),
    )


def test_a_time_that_was_decided_and_not_crossed_off_starts_nothing_again(flow: Flow) -> None:
    ran(flow, NIGHTLY)
    night = Night(flow)
    (row,) = night.rows()
    night.time = row.next_at
    night.look()

    flow.server.lading.database.run(timetable.set_next, row.id, row.next_at)
    night.look()

    assert night.runs() == ["push", "schedule"]
    assert night.rows()[0].next_at > row.next_at


@pytest.mark.parametrize(("missed", "runs"), [("latest", 1), ("skip", 0)])
def test_of_times_that_were_missed_the_latest_is_made_up_for_or_none(
    flow: Flow, missed: str, runs: int
) -> None:
    ran(flow, NIGHTLY.replace("missed: latest", f"missed: {missed}"))
    night = Night(flow)
    night.time = night.rows()[0].next_at + timedelta(days=3, hours=2)

    night.look()

    assert night.runs() == ["push", *["schedule"] * runs]
    assert night.rows()[0].next_at > night.time


def test_a_schedule_that_is_taken_out_of_the_file_is_over(flow: Flow) -> None:
    ran(flow, NIGHTLY)
    ran(flow, "test: {unit: {image: IMAGE, commands: echo hello}}")
    assert Night(flow).rows() == []


def test_a_time_whose_repository_cannot_be_read_waits(flow: Flow) -> None:
    ran(flow, NIGHTLY)
    night = Night(flow)
    (row,) = night.rows()
    away = flow.repository.bare.rename(flow.repository.bare.with_suffix(".away"))
    night.time = row.next_at
    night.look()
    assert night.rows()[0].next_at == row.next_at

    away.rename(flow.repository.bare)
    night.time += timedelta(minutes=2)
    night.look()

    assert night.runs() == ["push", "schedule"]


def test_a_template_is_built_tested_and_shown_with_its_dockerfile(flow: Flow) -> None:
    definition = """\
build:
  web:
    template: plain
    base: IMAGE
    files: [src]
    steps: [cat src/a > /made]
    run: {workdir: /srv}
  own: {dockerfile: docker/own}
test:
  unit:
    image: {from: build.web}
    commands: [cat /made, ls /srv, id -u]
"""
    files = {
        ".lading.yml": definition.replace("IMAGE", flow.image),
        "src/a": "hello\n",
        "other": "",
        "docker/own": f"FROM {flow.image}\n# mine\n",
    }
    run = flow.run_of(flow.tell_github(flow.push(files)))
    flow.server.ended(run)

    assert set(flow.server.states(run).values()) == {State.SUCCESS}
    assert "hello\n$ ls /srv\nsrc\n$ id -u\n10001\n" in flow.server.log(run, "test.unit")
    assert dockerfile(flow, run, "build.web").text.splitlines()[:4] == [
        "# Written by Lading from the template plain.",
        f"FROM {flow.image}",
        "WORKDIR /srv",
        "COPY src ./src",
    ]
    assert dockerfile(flow, run, "build.own").text == files["docker/own"]
    assert dockerfile(flow, run, "test.unit").status_code == 404


def test_a_template_that_misses_its_file_ends_the_run_at_once_with_the_place(flow: Flow) -> None:
    sha = flow.push({".lading.yml": "build:\n  web: {template: go, version: '1.25'}\n"})
    run = flow.run_of(flow.tell_github(sha))

    assert flow.server.ended(run).sentence.startswith(
        ".lading.yml:2:19 `build.web` cannot be made of the template go: there is no go.mod"
    )


def dockerfile(flow: Flow, run: int, step: str) -> httpx2.Response:
    """The Dockerfile of a step, as the API has it."""
    return flow.server.api.get(f"/runs/{run}/steps/{step}/dockerfile")
