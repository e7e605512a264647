from __future__ import annotations

import pytest

from pipelines.choosing import Chosen, NoSuchStepError, at_home
from pipelines.plan import Plan
from tests.unit.pipelines.building import planned

FILE = """\
build:
  web: {}
  docs: {}
test:
  lint: {image: busybox, commands: [a], needs: []}
  unit: {image: {from: build.web}, commands: [a], matrix: {v: [x, y]}}
  tell: {image: busybox, commands: [a], needs: [test.unit], when: {status: failure}}
  tagged: {image: busybox, commands: [a], when: {event: tag}}
  smoke: {image: busybox, commands: [a], needs: [push.web]}
  after: {image: busybox, commands: [a], needs: [test.smoke]}
push:
  web: {to: ghcr.io/acme/web, image: {from: build.web}, needs: [test.unit]}
"""


def keys(chosen: Chosen) -> list[str]:
    return [step.key for step in chosen.plan.steps]


@pytest.fixture
def plan() -> Plan:
    return planned(FILE)


def test_nothing_is_pushed_and_what_waits_for_a_push_does_not_run(plan: Plan) -> None:
    chosen = at_home(plan)

    assert keys(chosen) == [
        *("build.web", "build.docs", "test.lint", "test.unit (x)", "test.unit (y)", "test.tell"),
    ]
    assert set(chosen.not_run) == {"push.web", "test.smoke", "test.after"}
    assert "ghcr.io/acme/web as main" in chosen.not_run["push.web"]
    assert "waits for push.web" in chosen.not_run["test.smoke"]
    assert "waits for test.smoke" in chosen.not_run["test.after"]


def test_a_chosen_step_runs_with_the_build_of_its_image_and_nothing_else(plan: Plan) -> None:
    chosen = at_home(plan, ["test.unit (x)"])

    assert keys(chosen) == ["build.web", "test.unit (x)"]
    assert not chosen.not_run


def test_a_step_that_waits_for_nothing_needs_no_build(plan: Plan) -> None:
    assert keys(at_home(plan, ["test.lint"])) == ["test.lint"]


def test_a_matrix_is_chosen_as_a_whole(plan: Plan) -> None:
    assert keys(at_home(plan, ["test.unit"]))[-2:] == ["test.unit (x)", "test.unit (y)"]


def test_what_runs_after_a_failure_runs_where_it_was_chosen(plan: Plan) -> None:
    chosen = at_home(plan, ["test.tell"])

    assert keys(chosen) == ["test.tell"]
    assert chosen.plan.steps[0].after_success
    assert chosen.plan.steps[0].needs == ()


def test_nobody_waits_for_a_step_that_is_not_there(plan: Plan) -> None:
    for chosen in (at_home(plan), at_home(plan, ["test.unit", "test.tell"])):
        there = set(keys(chosen))
        assert all(need in there for step in chosen.plan.steps for need in step.needs)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test.unti", "did you mean `test.unit`?"),
        ("nonsense", "there are build.web, build.docs, test.lint"),
        ("push.web", "nothing is pushed from here"),
        ("test.tagged", "wants event tag, this was push"),
    ],
)
def test_what_cannot_be_chosen_is_told_with_what_can(plan: Plan, name: str, said: str) -> None:
    with pytest.raises(NoSuchStepError) as caught:
        at_home(plan, [name])

    assert said in str(caught.value)


DEPLOYS = f"""{FILE}
deploy:
  live: {{image: busybox, commands: [a], approval: {{prompt: Ship it?}}}}
"""


def test_nothing_is_deployed_unless_it_is_chosen() -> None:
    chosen = at_home(planned(DEPLOYS))

    assert "deploy.live" not in keys(chosen)
    assert "lading run deploy.live" in chosen.not_run["deploy.live"]


def test_a_deploy_that_is_chosen_runs_and_asks_nobody_else() -> None:
    chosen = at_home(planned(DEPLOYS), ["deploy.live"])

    assert [(step.key, step.approval) for step in chosen.plan.steps] == [("deploy.live", None)]


CHANNELS = f"""{FILE}
deploy:
  live: {{channel: live, needs: [push.web]}}
  both: {{channel: live, needs: [push.web], image: busybox, commands: [a]}}
"""


def test_a_channel_is_never_moved_from_home() -> None:
    told = "channels are moved by the server alone"
    plan = planned(CHANNELS)
    chosen = at_home(plan, ["deploy.both"])

    assert [step.channel for step in chosen.plan.steps] == [None]
    assert told in chosen.not_run["the channel of deploy.both"]
    assert told in at_home(plan).not_run["deploy.live"]
    with pytest.raises(NoSuchStepError, match=told):
        at_home(plan, ["deploy.live"])
