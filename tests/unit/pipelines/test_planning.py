from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipelines.events import Event, EventKind
from pipelines.inputs import InputsInvalidError, refuse_unknown
from pipelines.plan import (
    Approval,
    BuildWork,
    BuiltImageRef,
    Channel,
    CommandsWork,
    Keeps,
    NamedImage,
    NoWork,
    Plan,
    PushWork,
    Resources,
    Step,
)
from pipelines.planning import VARIABLES, PlanDefaults, bind, plan
from pipelines.problems import DefinitionInvalidError
from tests.unit.pipelines.building import (
    MANUAL,
    PULL,
    PUSH,
    SHA,
    TAG,
    defined,
    planned,
    push_to,
    tagged,
)

WHOLE = """\
build: {web: , docs: {context: docs, target: site}}
test:
  lint: {needs: [], image: python, commands: ruff}
  unit: {image: {from: build.web}, commands: [a, b], timeout: 10m}
push: {web: {to: ghcr.io/acme/web}, docs: {to: ghcr.io/acme/docs}}
"""
WEB = "build: {web: }\n"


def needs(made: Plan) -> dict[str, tuple[str, ...]]:
    return {step.key: step.needs for step in made.steps}


def tags(text: str, event: Event = PUSH) -> tuple[str, ...]:
    made = planned(f"{WEB}push: {{web: {{to: localhost/web, tags: {text}}}}}", event)
    return next((step.work.tags for step in made.steps if isinstance(step.work, PushWork)), ())


def image(name: str, event: Event = PUSH) -> str:
    work = planned(f"test: {{a: {{image: '{name}', commands: b}}}}", event).steps[0].work
    assert isinstance(work, CommandsWork)
    assert isinstance(work.image, NamedImage)
    return work.image.name


def env(event: Event, text: str = "test: {a: {image: b, commands: c}}") -> dict[str, str]:
    return planned(text, event).steps[0].env


def test_each_step_becomes_its_work() -> None:
    works = {step.key: step.work for step in planned(WHOLE).steps}
    assert works == {
        "build.web": BuildWork(),
        "build.docs": BuildWork(dockerfile="docs/Dockerfile", context="docs", target="site"),
        "test.lint": CommandsWork(image=NamedImage(name="python"), commands=("ruff",)),
        "test.unit": CommandsWork(image=BuiltImageRef(build="build.web"), commands=("a", "b")),
        "push.web": PushWork(
            image=BuiltImageRef(build="build.web"),
            repository="ghcr.io/acme/web",
            tags=("main", "sha-0123456789ab", "latest"),
        ),
        "push.docs": PushWork(
            image=BuiltImageRef(build="build.docs"),
            repository="ghcr.io/acme/docs",
            tags=("main", "sha-0123456789ab", "latest"),
        ),
    }


def test_a_stage_waits_for_the_one_before_and_needs_replaces_that() -> None:
    assert needs(planned(WHOLE)) == {
        "build.web": (),
        "build.docs": (),
        "test.lint": (),
        "test.unit": ("build.web", "build.docs"),
        "push.web": ("test.lint", "test.unit", "build.web"),
        "push.docs": ("test.lint", "test.unit", "build.docs"),
    }


def test_stages_run_in_their_order_whatever_the_order_in_the_file() -> None:
    made = planned("push: {web: {to: localhost/web}}\ntest: {a: {commands: b}}\nbuild: {web: }\n")
    assert [step.key for step in made.steps] == ["build.web", "test.a", "push.web"]


def test_an_empty_stage_is_passed_through() -> None:
    made = planned("build: {a: , b: }\npush: {a: {to: localhost/a}}")
    assert needs(made)["push.a"] == ("build.a", "build.b")


def test_a_stage_whose_steps_all_wait_for_nothing_does_not_hide_the_one_before() -> None:
    text = (
        "build: {a: , b: }\ntest: {l: {image: x, commands: y, needs: []}}\n"
        "push: {a: {to: localhost/a}}"
    )
    assert needs(planned(text))["push.a"] == ("test.l", "build.a", "build.b")


def test_a_step_waits_for_the_build_of_its_image_whatever_its_needs() -> None:
    made = planned(f"{WEB}test: {{a: {{commands: b, needs: []}}}}")
    assert needs(made)["test.a"] == ("build.web",)


def test_a_need_named_twice_is_one() -> None:
    text = f"{WEB}test: {{a: {{commands: b, needs: [build.web, build.web]}}}}"
    assert needs(planned(text))["test.a"] == ("build.web",)


def test_a_step_whose_when_does_not_match_is_left_out_with_the_reason() -> None:
    made = planned(f"{WEB}test: {{a: {{commands: b, when: {{event: tag}}}}}}")
    assert [step.key for step in made.steps] == ["build.web"]
    assert made.left_out == {"test.a": "left out: `when` wants event tag, this was push"}


def test_a_steps_when_looks_at_the_changed_paths() -> None:
    text = "test: {a: {image: b, commands: c, when: {path: src/**}}}"
    assert planned(text, changed=frozenset({"docs/a"})).steps == ()
    assert planned(text, changed=frozenset({"src/a"})).left_out == {}
    assert planned(text, changed=None).left_out == {}


def test_who_needs_a_left_out_step_waits_for_what_that_would_have_waited_for() -> None:
    text = f"""\
{WEB}
test:
  a: {{image: x, commands: y, needs: []}}
  b: {{image: x, commands: y, needs: [test.a], when: {{event: tag}}}}
  c: {{image: x, commands: y, needs: [test.b]}}
  d: {{image: x, commands: y, when: {{event: tag}}}}
  e: {{image: x, commands: y, needs: [test.d]}}
"""
    made = needs(planned(text))
    assert (made["test.c"], made["test.e"]) == (("test.a",), ("build.web",))


def test_a_stage_left_out_whole_is_passed_through() -> None:
    test = "test: {a: {commands: b, when: {event: tag}}}"
    text = f"{WEB}{test}\npush: {{web: {{to: localhost/web}}}}"
    assert needs(planned(text))["push.web"] == ("build.web",)


def test_a_pull_request_from_a_fork_never_pushes() -> None:
    made = planned(WHOLE, PULL.model_copy(update={"from_fork": True}))
    assert [step.stage.value for step in made.steps] == ["build", "build", "test", "test"]
    assert "from a fork never pushes" in made.left_out["push.web"]


DEPLOY = """\
build: {web: {}}
push: {web: {to: localhost/web}}
env: {A: "1"}
deploy:
  live:
    image: alpine
    commands: [ship]
    env: {TOKEN: {from_secret: live}, B: "2"}
    approval: {prompt: "Ship it?", timeout: 2d}
  dev: {commands: [ship], needs: [build.web]}
"""


def test_a_deploy_runs_commands_with_secrets_after_the_pushes_or_what_it_needs() -> None:
    made = planned(DEPLOY)
    live = made.step("deploy.live")
    assert needs(made)["deploy.live"] == ("push.web",)
    assert needs(made)["deploy.dev"] == ("build.web",)
    assert live.secrets == {"TOKEN": "live"}
    assert (live.env["A"], live.env["B"], live.env["CI_STAGE"]) == ("1", "2", "deploy")
    assert live.approval == Approval(prompt="Ship it?", timeout=2 * 86400)
    assert made.step("deploy.dev").approval is None


def test_a_pull_request_from_a_fork_never_deploys_whatever_it_names() -> None:
    text = DEPLOY.replace("image: alpine", "image: 'alpine:${tag}'")
    made = planned(text, PULL.model_copy(update={"from_fork": True}))
    assert [step.key for step in made.steps] == ["build.web"]
    assert "from a fork never deploys" in made.left_out["deploy.live"]


def test_a_commit_of_no_branch_is_told_as_what_it_is() -> None:
    event = PULL.model_copy(update={"kind": EventKind.MANUAL, "from_fork": True})
    made = planned(DEPLOY, event)
    reason = "left out: a commit of no branch or tag here never deploys"
    assert made.left_out["deploy.live"] == reason


@pytest.mark.parametrize("from_fork", [True, False])
def test_a_plan_says_whether_its_commit_is_trusted(from_fork: bool) -> None:
    made = planned(WHOLE, PULL.model_copy(update={"from_fork": from_fork}))
    assert made.trusted is not from_fork


def test_a_plan_from_before_there_was_trust_is_trusted() -> None:
    old = planned(WHOLE).model_dump(mode="json", exclude={"trusted"})
    assert Plan.model_validate(old).trusted


def test_a_push_whose_when_does_not_match_is_left_out() -> None:
    made = planned(f"{WEB}push: {{web: {{to: localhost/web, when: {{event: tag}}}}}}")
    assert made.left_out == {"push.web": "left out: `when` wants event tag, this was push"}


def test_timeouts_come_from_the_step_the_pipeline_or_the_server() -> None:
    steps = {step.key: step.timeout for step in planned(WHOLE).steps}
    assert (steps["test.unit"], steps["test.lint"], planned(WHOLE).timeout) == (600, 3600, 3600)
    made = planned(f"timeout: 20m\n{WHOLE}")
    assert (made.timeout, made.step("test.lint").timeout) == (1200, 1200)


def test_images_carry_what_the_commit_decides() -> None:
    prefix = "org.opencontainers.image."
    assert planned(WEB).labels == {
        f"{prefix}created": "2026-05-04T03:02:01Z",
        f"{prefix}revision": SHA,
        f"{prefix}title": "web",
    }
    assert planned(WEB, TAG).labels[f"{prefix}version"] == "1.2.3"


def test_the_time_of_the_commit_is_told_in_utc() -> None:
    there = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    made = plan(defined(WEB), PUSH, committed_at=there, defaults=PlanDefaults(timeout=1))
    assert made.labels["org.opencontainers.image.created"] == "2025-12-31T23:00:00Z"


def test_a_push_gives_its_variables() -> None:
    assert env(PUSH) == {
        "CI": "true",
        "CI_EVENT": "push",
        "CI_REPO": "acme/web",
        "CI_PIPELINE": "default",
        "CI_STAGE": "test",
        "CI_STEP": "a",
        "CI_COMMIT_SHA": SHA,
        "CI_COMMIT_SHORT_SHA": SHA[:12],
        "CI_COMMIT_REF": "refs/heads/main",
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_BEFORE": "f" * 40,
        "CI_COMMIT_TITLE": "Fix it",
        "CI_COMMIT_AUTHOR": "Ada <ada@example.org>",
    }


def test_a_pull_request_and_a_tag_give_theirs() -> None:
    assert env(PULL)["CI_PULL_REQUEST"] == "7"
    assert env(PULL)["CI_SOURCE_BRANCH"] == "fix"
    assert env(TAG)["CI_COMMIT_TAG"] == "v1.2.3"
    assert "CI_COMMIT_BRANCH" not in env(TAG)


def test_every_variable_is_in_the_table_and_no_other() -> None:
    text = (
        "when: {event: [manual, push], inputs: {name: {default: x}}}\n"
        "test: {a: {image: b, commands: c, matrix: {key: x}}}"
    )
    given = {
        name
        for event in (PUSH, PULL, TAG)
        for name in bind(planned(text, event), run=1, attempt=1).steps[0].env
    }
    assert given == {re.sub("[<>]", "", name) for name in VARIABLES}


def test_a_steps_variables_go_over_the_pipelines() -> None:
    text = "env: {A: 1, B: 2}\ntest: {a: {image: b, commands: c, env: {B: 3}}}"
    assert {name: env(PUSH, text)[name] for name in "AB"} == {"A": "1", "B": "3"}


@pytest.mark.parametrize("text", ["$(touch x)", "`x`;\"'", "a\nb", "--x"])
def test_a_strangers_text_reaches_steps_as_it_is(text: str) -> None:
    assert env(PUSH.model_copy(update={"title": text}))["CI_COMMIT_TITLE"] == text


def test_what_no_variable_can_hold_is_taken_out_of_a_strangers_text() -> None:
    event = PUSH.model_copy(update={"title": "a\0b\udc80", "author": "x" * 200_000})
    assert env(event)["CI_COMMIT_TITLE"] == "ab?"
    assert len(env(event)["CI_COMMIT_AUTHOR"]) == 4096


def test_a_strangers_text_reaches_no_command_and_no_name() -> None:
    bad = "$(touch x);\"'`&|${run}"
    event = push_to(bad, title=bad, author=bad, message=bad)
    for step in planned(WHOLE, event).steps:
        assert "touch x" not in step.work.model_dump_json()


def test_placeholders_are_filled_in_build_arguments() -> None:
    args = "'${branch} ${tag} ${sha} ${short_sha} ${run}'"
    made = bind(
        planned(f"build: {{web: {{args: {{A: {args}}}}}}}", push_to("a/B")), run=7, attempt=1
    )
    assert isinstance(made.steps[0].work, BuildWork)
    assert made.steps[0].work.args == {"A": f"a/B  {SHA} {SHA[:12]} 7"}


def test_placeholders_are_filled_in_image_names() -> None:
    assert image("tools:${branch}", push_to("release/1x")) == "tools:release-1x"
    assert image("tools:${tag}", tagged("v1+2")) == "tools:v1-2"


def test_an_image_whose_placeholder_has_no_value_is_a_problem_of_the_definition() -> None:
    with pytest.raises(DefinitionInvalidError) as caught:
        image("tools:${tag}")
    [problem] = caught.value.problems
    assert problem.code == "P040"
    assert problem.message == "`test.a` has no image for this push: `tools:${tag}` gives no name"


def test_an_image_that_the_event_makes_no_image_is_a_problem_too() -> None:
    with pytest.raises(DefinitionInvalidError):
        image("tools:" + "a" * 60 + "${branch}", push_to("b" * 100))


def test_a_left_out_step_needs_no_image() -> None:
    text = "test: {a: {image: 'x:${tag}', commands: b, when: {event: tag}}}"
    assert planned(text).steps == ()


def test_placeholders_are_filled_in_tags_by_their_slug() -> None:
    assert tags("['${branch}', '${short_sha}', x]", push_to("a/b")) == ("a-b", SHA[:12], "x")


def test_a_tag_without_a_value_is_left_out_and_an_equal_one_too() -> None:
    assert tags("['${tag}', '${branch}', main]") == ("main",)


def test_a_pull_request_cannot_move_the_tag_of_the_branch_it_wants_to_go_into() -> None:
    assert tags("['${branch}', '${short_sha}']", PULL) == (SHA[:12],)


def test_a_tag_that_the_event_makes_too_long_is_left_out() -> None:
    assert tags(f"['{'a' * 60}-${{branch}}', x]", push_to("b" * 100)) == ("x",)


def test_a_push_without_any_tag_is_left_out_with_the_reason() -> None:
    made = planned(f"{WEB}push: {{web: {{to: localhost/web, tags: '${{tag}}'}}}}")
    assert "none of its tags has a value for this push" in made.left_out["push.web"]


def test_a_manual_run_is_planned_like_a_push() -> None:
    assert planned(WHOLE, MANUAL).steps[4].work == planned(WHOLE).steps[4].work


def test_binding_puts_the_numbers_of_run_and_attempt_in() -> None:
    text = (
        "build: {web: }\n"
        "test: {a: {image: 'x:${run}', commands: 'echo ${run}'}, b: {commands: c}}\n"
        "push: {web: {to: localhost/web, tags: ['r${run}']}}"
    )
    made = bind(planned(text), run=12, attempt=3)
    test, other, push = made.steps[1:]
    assert isinstance(test.work, CommandsWork)
    assert isinstance(push.work, PushWork)
    assert test.work.image == NamedImage(name="x:12")
    assert test.work.commands == ("echo ${run}",)
    assert push.work.tags == ("r12",)
    assert (test.env["CI_RUN"], other.env["CI_ATTEMPT"]) == ("12", "3")


def test_a_plan_survives_json() -> None:
    made = planned(WHOLE)
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_a_thousand_steps_are_planned_in_little_time() -> None:
    def stage(name: str, body: str) -> str:
        return f"{name}:\n" + "".join(f"  s{number}: {body}\n" for number in range(333))

    tests = stage("test", "{commands: a, image: {from: build.s1}}")
    text = stage("build", "{}") + tests + stage("push", "{to: localhost/web}")
    definition = defined(text)
    start = time.process_time()
    made = plan(
        definition, PUSH, committed_at=datetime.now().astimezone(), defaults=PlanDefaults(timeout=1)
    )
    assert time.process_time() - start < 0.5  # 0.04 s here
    assert len(made.steps) == 999


def test_a_plan_knows_its_steps_by_key() -> None:
    with pytest.raises(KeyError):
        planned(WHOLE).step("test.nope")


MATRIX = """\
test:
  unit:
    image: "python:${matrix.python}"
    commands: a
    matrix: {python: ["3.12", "3.13"], db: [15]}
  more: {image: b, commands: c, needs: test.unit}
push: {web: {to: ghcr.io/acme/web}}
build: {web: }
"""


def test_a_matrix_becomes_a_step_for_each_combination() -> None:
    made = planned(MATRIX)
    unit = [step for step in made.steps if step.name.startswith("unit")]
    assert [step.key for step in unit] == ["test.unit (3.12, 15)", "test.unit (3.13, 15)"]
    assert [step.work.image for step in unit if isinstance(step.work, CommandsWork)] == [
        NamedImage(name="python:3.12"),
        NamedImage(name="python:3.13"),
    ]
    assert (unit[0].env["CI_MATRIX_PYTHON"], unit[0].env["CI_STEP"]) == ("3.12", "unit")


def test_who_needs_a_matrix_waits_for_all_of_it() -> None:
    both = ("test.unit (3.12, 15)", "test.unit (3.13, 15)")
    made = needs(planned(MATRIX))
    assert made["test.more"] == both
    assert made["push.web"] == (*both, "test.more", "build.web")


def test_a_matrix_that_its_when_leaves_out_is_left_out_in_every_combination() -> None:
    text = MATRIX.replace("    commands: a\n", "    commands: a\n    when: {branch: other}\n")
    assert set(planned(text).left_out) == {"test.unit (3.12, 15)", "test.unit (3.13, 15)"}


def test_steps_say_after_which_ends_they_run() -> None:
    text = """\
test:
  a: {image: b, commands: c}
  b: {image: b, commands: c, when: {status: failure}}
  c: {image: b, commands: c, when: [{status: [success, failure], branch: main}, {event: tag}]}
"""
    after = {step.name: (step.after_success, step.after_failure) for step in planned(text).steps}
    assert after == {"a": (True, False), "b": (False, True), "c": (True, True)}
    last = planned(text, tagged("v1")).steps[-1]
    assert (last.after_success, last.after_failure) == (True, False)


def test_a_step_that_asks_for_more_than_the_server_allows_is_a_problem() -> None:
    definition = defined("test: {a: {image: b, commands: c, resources: {memory: 4GiB, cpus: 8}}}")
    bounds = PlanDefaults(timeout=60, memory=2**31, cpus=2)
    with pytest.raises(DefinitionInvalidError) as raised:
        plan(definition, PUSH, committed_at=datetime.now(UTC), defaults=bounds)
    assert [problem.message for problem in raised.value.problems] == [
        "`test.a` asks for 4 GiB of memory; this server allows a step 2 GiB",
        "`test.a` asks for 8 CPUs; this server allows a step 2",
    ]


def test_what_a_step_asks_for_within_bounds_stands_in_the_plan() -> None:
    made = planned("test: {a: {image: b, commands: c, resources: {memory: 64MiB, cpus: 0.5}}}")
    assert made.steps[0].resources == Resources(memory=2**26, cpus=0.5)


ASKING = """\
when: [{event: manual, inputs: {level: {type: choice, options: [smoke, full], default: smoke},
  count: {type: number}}}, {event: push}]
test: {a: {image: "b:${inputs.level}", commands: c}}
"""


def by_hand(**inputs: str) -> Event:
    return MANUAL.model_copy(update={"inputs": inputs})


def test_what_a_person_gave_reaches_steps_as_environment_and_in_place_of_placeholders() -> None:
    made = planned(ASKING, by_hand(level="full", count="3")).steps[0]
    assert isinstance(made.work, CommandsWork)
    assert made.work.image == NamedImage(name="b:full")
    assert (made.env["CI_INPUT_LEVEL"], made.env["CI_INPUT_COUNT"]) == ("full", "3")


def test_without_a_person_an_input_has_its_default_or_nothing() -> None:
    made = planned(ASKING, PUSH).steps[0]
    assert made.env["CI_INPUT_LEVEL"] == "smoke"
    assert "CI_INPUT_COUNT" not in made.env


def test_every_input_that_does_not_fit_is_told() -> None:
    with pytest.raises(InputsInvalidError) as raised:
        planned(ASKING, by_hand(level="deep"))
    assert raised.value.faults == (
        "input `level` of default: `deep` is none of smoke, full",
        "input `count` of default has no default: give it a value",
    )


def test_an_input_that_no_pipeline_takes_is_told() -> None:
    with pytest.raises(InputsInvalidError, match="there is no input `lvl`: there are count, level"):
        refuse_unknown([defined(ASKING)], {"lvl": "x"})


def test_a_secret_stands_in_the_plan_by_its_name_and_hides_the_pipelines_own_variable() -> None:
    text = "env: {A: x}\ntest: {a: {image: b, commands: c, env: {A: {from_secret: npm}, B: y}}}"
    step = planned(text).steps[0]
    assert step.secrets == {"A": "npm"}
    assert "A" not in step.env
    assert step.env["B"] == "y"


@pytest.mark.parametrize(
    ("text", "safe"), [("", False), ("retry: never", False), ("retry: safe", True)]
)
def test_only_a_push_that_says_so_may_be_repeated(text: str, *, safe: bool) -> None:
    made = planned(f"{WEB}push: {{web: {{to: localhost/web, {text}}}}}")
    (work,) = (step.work for step in made.steps if isinstance(step.work, PushWork))
    assert work.retry_safe is safe


GROUPED = "build: {web: {}}\nconcurrency: "


@pytest.mark.parametrize(
    ("asked", "event", "name"),
    [
        ("{group: web}", PUSH, "web"),
        ("{group: 'deploy-${branch}'}", push_to("feat/a B"), "deploy-feat/a B"),
        ("{group: 'deploy-${branch}'}", PULL, "default refs/pull/7/head"),
        ("{group: '${tag}'}", TAG, "v1.2.3"),
        ("{}", PUSH, "default refs/heads/main"),
        ("{cancel_in_progress: true}", TAG, "default refs/tags/v1.2.3"),
    ],
)
def test_the_group_is_the_one_asked_for_else_the_pipelines_own_for_each_ref(
    asked: str, event: Event, name: str
) -> None:
    group = planned(GROUPED + asked, event).group
    assert group is not None
    assert group.name == name


def test_a_plan_supersedes_only_where_the_file_says_so() -> None:
    asked = planned(GROUPED + "{cancel_in_progress: true}").group
    silent = planned(GROUPED + "{group: web}").group
    assert asked is not None
    assert asked.cancel_in_progress
    assert silent is not None
    assert not silent.cancel_in_progress


def test_a_plan_without_concurrency_takes_turns_with_nobody() -> None:
    assert planned("build: {web: {}}").group is None


def keeps(text: str) -> list[Keeps]:
    made = planned(f"test: {{unit: {{image: b, commands: c, {text}}}}}")
    return [step.work.keeps for step in made.steps if isinstance(step.work, CommandsWork)]


def test_what_a_step_keeps_is_part_of_its_plan() -> None:
    (kept,) = keeps("artifacts: {paths: [a/, b], expire_in: 2d}, reports: {junit: r.xml}")
    assert kept == Keeps(artifacts=("a/", "b"), expire_in=172_800.0, junit=("r.xml",))


def test_a_step_that_names_nothing_keeps_nothing() -> None:
    assert keeps("env: {}") == [Keeps()]


def test_each_combination_of_a_matrix_keeps_files_of_its_own() -> None:
    text = "matrix: {v: ['1', '2']}, artifacts: {paths: 'x-${matrix.v}/'}, "
    found = keeps(text + "reports: {junit: ['r-${matrix.v}.xml', all.xml]}")

    assert [one.artifacts for one in found] == [("x-1/",), ("x-2/",)]
    assert [one.junit for one in found] == [("r-1.xml", "all.xml"), ("r-2.xml", "all.xml")]


def test_a_plan_that_was_stored_before_files_were_kept_still_loads() -> None:
    stored = planned("test: {a: {image: b, commands: c}}").model_dump(mode="json")
    del stored["steps"][0]["work"]["keeps"]

    work = Plan.model_validate(stored).steps[0].work

    assert isinstance(work, CommandsWork)
    assert work.keeps == Keeps()


CHANNEL = """\
build: {web: {}, docs: {}}
push: {web: {to: localhost/web}, docs: {to: localhost/docs}}
deploy:
  live: {channel: production}
"""


def pushes_moved(text: str, event: Event = PUSH) -> tuple[str, ...]:
    channel = planned(text, event).step("deploy.live").channel
    assert channel is not None
    return channel.pushes


def test_a_channel_moves_to_every_push_that_its_step_waits_for() -> None:
    made = planned(CHANNEL).step("deploy.live")

    assert made.work == NoWork()
    assert made.channel == Channel(name="production", pushes=("push.web", "push.docs"))


def test_needs_narrow_a_channel_to_the_pushes_behind_them() -> None:
    only = CHANNEL.replace("production", "production, needs: [push.docs]")
    through = CHANNEL.replace("production", "production, needs: [deploy.try]")
    through += "  try: {image: alpine, commands: [a], needs: [push.docs]}\n"

    assert pushes_moved(only) == ("push.docs",)
    assert pushes_moved(through) == ("push.docs",)


def test_a_channel_may_move_after_commands() -> None:
    text = CHANNEL.replace("production", "production, image: alpine, commands: [a]")
    step = planned(text).step("deploy.live")

    assert isinstance(step.work, CommandsWork)
    assert step.channel is not None


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (PULL, "left out: a pull request moves no channel"),
        (TAG, "left out: nothing is pushed here that production could lead to"),
        (PULL.model_copy(update={"from_fork": True}), "from a fork never deploys"),
    ],
)
def test_a_channel_that_nothing_is_pushed_for_stays(event: Event, reason: str) -> None:
    text = CHANNEL.replace("localhost/web", "localhost/web, when: {event: push}")
    text = text.replace("localhost/docs", "localhost/docs, when: {event: push}")
    made = planned(text, event)

    assert "deploy.live" not in needs(made)
    assert reason in made.left_out["deploy.live"]


def test_two_images_in_one_repository_make_a_channel_unclear() -> None:
    text = CHANNEL.replace("localhost/docs", "localhost/web")

    with pytest.raises(DefinitionInvalidError) as caught:
        planned(text)

    (problem,) = caught.value.problems
    assert problem.code == "P043"
    assert pushes_moved(text.replace("production", "production, needs: [push.web]")) == (
        "push.web",
    )


def test_a_step_stored_before_there_were_channels_moves_none() -> None:
    step = planned(DEPLOY).step("deploy.live")

    assert Step.model_validate(step.model_dump(exclude={"channel"})) == step


def test_a_channel_alone_has_no_run_number_to_be_bound() -> None:
    assert bind(planned(CHANNEL), run=7, attempt=1).step("deploy.live").work == NoWork()
