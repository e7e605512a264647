"""Services, caches and tries of a step: as the file says them, and in the plan."""

from __future__ import annotations

import pytest

from pipelines.events import Event
from pipelines.plan import Cache, CommandsWork, Plan, Ready, Service, Step
from pipelines.planning import bind
from pipelines.problems import DefinitionInvalidError
from tests.unit.pipelines.building import MANUAL, PULL, PUSH, TAG, planned, push_to, said

FORK = PULL.model_copy(update={"from_fork": True})
A_COMMIT = MANUAL.model_copy(update={"branch": None, "ref": PUSH.sha})
NAMED = "{image: b, commands: c, "


def of(body: str, event: Event = PUSH) -> Step:
    return _plan(body, event).steps[0]


def _plan(body: str, event: Event = PUSH) -> Plan:
    return planned(f"test: {{unit: {NAMED}{body}}}}}", event)


def services(body: str, event: Event = PUSH) -> tuple[Service, ...]:
    return of(f"services: {body}", event).services


def cache(body: str, event: Event = PUSH) -> Cache:
    work = of(f"cache: {body}", event).work
    assert isinstance(work, CommandsWork)
    assert work.cache is not None
    return work.cache


def problems(body: str) -> list[str]:
    told = said(f"test:\n  unit:\n    {NAMED}{body}}}")
    return [each.partition(" ")[2] for each in told]


def test_a_service_is_read_with_all_its_keys() -> None:
    (db,) = services(
        "{db: {image: 'postgres:16', args: [postgres, -c, fsync=off], "
        "env: {A: x, B: {from_secret: test_db}}, ready: {port: 5432, timeout: 2m}}}"
    )
    assert db == Service(
        name="db",
        image="postgres:16",
        args=("postgres", "-c", "fsync=off"),
        env={"A": "x"},
        secrets={"B": "test_db"},
        ready=Ready(port=5432, within=120),
    )


def test_a_service_waits_for_a_minute_where_the_file_is_silent() -> None:
    (db,) = services("{db: {image: a, ready: {command: pg_isready}}}")
    assert db.ready == Ready(command="pg_isready", within=60)


def test_a_service_is_ready_at_its_start_where_nothing_is_asked() -> None:
    (db,) = services("{db: {image: a}}")
    assert db.ready is None


def test_placeholders_and_the_matrix_stand_in_a_services_image() -> None:
    plan = _plan("matrix: {v: ['15', '16']}, services: {db: {image: 'pg:${matrix.v}-${run}'}}")
    images = [step.services[0].image for step in bind(plan, run=7, attempt=1).steps]
    assert images == ["pg:15-7", "pg:16-7"]


def test_a_services_image_without_a_name_for_the_event_is_told_with_the_service() -> None:
    with pytest.raises(DefinitionInvalidError, match=r"unit`'s service `db` has no image"):
        services("{db: {image: 'a:${tag}'}}", PUSH)


def test_secrets_of_a_service_are_its_own_and_not_the_steps() -> None:
    step = of("env: {A: {from_secret: a}}, services: {db: {image: a, env: {B: {from_secret: b}}}}")
    assert step.named_secrets == {"test.unit": {"A": "a"}, "test.unit/db": {"B": "b"}}
    assert step.secrets == {"A": "a"}


@pytest.mark.parametrize(
    ("event", "reads", "writes", "refusal"),
    [
        (PUSH, ("default",), "default", ""),
        (MANUAL, ("default",), "default", ""),
        (push_to("feature"), ("branch feature", "default"), "branch feature", ""),
        (PULL, ("default",), None, "pull request"),
        (FORK, ("default",), None, "pull request"),
        (TAG, ("default",), None, "tag"),
        (A_COMMIT, ("default",), None, "commit without a branch"),
        (
            push_to("main", default_branch=None),
            ("branch main", "default"),
            "branch main",
            "",
        ),
    ],
)
def test_only_what_runs_on_a_branch_writes_and_only_into_that_branchs_cache(
    event: Event, reads: tuple[str, ...], writes: str | None, refusal: str
) -> None:
    made = cache("{key: pip, paths: .cache}", event)
    assert (made.reads, made.writes, made.refusal) == (reads, writes, refusal)


def test_a_branch_that_is_called_like_a_scope_is_not_the_default_branch() -> None:
    made = cache("{key: pip, paths: .cache}", push_to("default"))
    assert made.writes == "branch default"


def test_a_caches_key_is_filled_for_each_variant() -> None:
    plan = _plan(
        "matrix: {v: ['1', '2']}, cache: {key: 'pip-${matrix.v}-${branch}', paths: [a, b]}"
    )
    works = [step.work for step in plan.steps]
    keys = [work.cache.key for work in works if isinstance(work, CommandsWork) and work.cache]
    assert keys == ["pip-1-main", "pip-2-main"]


def test_a_cache_whose_key_has_no_value_is_neither_read_nor_written() -> None:
    made = cache("{key: 'pip-${branch}', paths: .cache}", PULL)
    assert (made.reads, made.writes) == ((), None)
    assert made.refusal == "`pip-${branch}` is no key for a pull request"


def test_a_step_is_tried_again_as_often_as_the_file_says() -> None:
    assert of("retry: 2").retries == 2
    assert of("retry: 0").retries == 0
    assert planned("build: {web: {retry: 1}}").steps[0].retries == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("services: {Db: {image: a}}", "P080 `Db` cannot be a service's name"),
        ("services: {localhost: {image: a}}", "P080 `localhost` cannot be a service's name"),
        ("services: {db-: {image: a}}", "P080 `db-` cannot be a service's name"),
        ("services: [postgres]", "P013 `services` is a list: write each under the name"),
        ("services: {db: postgres}", "P013 `test.unit.services.db` is a text: it wants keys"),
        ("services: {db: {}}", "P012 `test.unit.services.db` has no `image`: `image: postgres:16`"),
        ("services: {db: {image: A}}", "P025 `A` is no image name"),
        ("services: {db: {image: 'a:${matrix.v}'}}", "P028 unknown placeholder `${matrix.v}`"),
        ("services: {db: {image: 'a:${inputs.v}'}}", "P028 unknown placeholder `${inputs.v}`"),
        ("services: {db: {image: a, env: {CI: x}}}", "P023 `CI` is set by Lading"),
        ("services: {db: {image: a, command: x}}", "P010 unknown key `command`: here it is `args`"),
        ("services: {db: {image: a, ports: x}}", "P010 unknown key `ports`: every port is reached"),
        ("services: {db: {image: a, options: x}}", "P010 unknown key `options`: here it is `ready"),
        ("services: {db: {image: a, volumes: x}}", "P010 unknown key `volumes`: steps never reach"),
        ("services: {db: {image: a, ready: {}}}", "P081 `ready` has neither `port` nor `command`"),
        (
            "services: {db: {image: a, ready: {port: 1, command: x}}}",
            "P081 `ready` has `port` and `command`",
        ),
        ("services: {db: {image: a, ready: {port: 0}}}", "P081 `0` is no port"),
        ("services: {db: {image: a, ready: {port: 65536}}}", "P081 `65536` is no port"),
        ("services: {db: {image: a, ready: {port: 1, within: 5}}}", "P010 unknown key `within`"),
        ("cache: {paths: a}", "P012 `test.unit.cache` has no `key`: `cache: {key: pip"),
        ("cache: {key: a}", "P012 `test.unit.cache` has no `paths`: `paths: [htmlcov"),
        ("cache: {key: a, paths: []}", "P014 the list is empty"),
        ("cache: {key: ' ', paths: a}", "P014 the key is empty"),
        ("cache: {key: '${sha}', paths: a}", "P082 with `${sha}` no later run would find"),
        ("cache: {key: '${run}', paths: a}", "P082 with `${run}` no later run would find"),
        ('cache: {key: "a\\tb", paths: a}', "P082 `a b` cannot be a cache's key"),
        ("cache: {key: '${matrix.v}', paths: a}", "P028 unknown placeholder `${matrix.v}`"),
        ("cache: {key: '${nothing}', paths: a}", "P028 unknown placeholder `${nothing}`"),
        ("cache: {key: a, paths: /root/.cache}", "P024 `/root/.cache` leaves the repository"),
        ("cache: {key: a, paths: a/../../b}", "P024 `a/../../b` leaves the repository"),
        ("cache: {key: a, paths: .}", "P083 `.` cannot be kept"),
        ("cache: {key: a, paths: ./.git/objects}", "P083 `.git/objects` cannot be kept"),
        ("cache: {key: a, paths: b, policy: pull}", "P010 unknown key `policy`: it is kept after"),
        ("cache: {key: a, path: b}", "P010 unknown key `path`: here it is `paths`"),
        ("cache: [a]", "P013 `test.unit.cache` is a list: it wants keys and values"),
        ("retry: 6", "P084 `6` is no number of tries: how often it is tried again"),
        ("retry: -1", "P084 `-1` is no number of tries"),
        ("retry: {max: 2}", "P084 this is no number of tries"),
        ("retry: always", "P084 `always` is no number of tries"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(body: str, told: str) -> None:
    found = problems(body)
    assert found
    assert found[0].startswith(told)


@pytest.mark.parametrize(
    ("count", "told"),
    [(8, []), (9, ["P085 9 services; a step may have 8: give the step less, or divide it"])],
)
def test_a_step_has_so_many_services_and_not_more(count: int, told: list[str]) -> None:
    named = ", ".join(f"s{number}: {{image: a}}" for number in range(count))
    assert problems(f"services: {{{named}}}") == told


@pytest.mark.parametrize(("count", "fits"), [(16, True), (17, False)])
def test_a_cache_has_so_many_paths_and_not_more(count: int, *, fits: bool) -> None:
    paths = ", ".join(f"a{number}" for number in range(count))
    found = problems(f"cache: {{key: a, paths: [{paths}]}}")
    assert ([each[:4] for each in found] == []) is fits


def test_a_plan_that_was_stored_before_there_were_services_still_loads() -> None:
    work = {"kind": "commands", "image": {"kind": "named", "name": "b"}, "commands": ["c"]}
    step = Step.model_validate({"stage": "test", "name": "unit", "timeout": 60, "work": work})
    assert (step.services, step.retries) == ((), 0)
