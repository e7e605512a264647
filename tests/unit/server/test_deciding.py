from __future__ import annotations

from datetime import UTC, datetime

from pipelines.events import Event, EventKind
from pipelines.plan import BuildWork
from pipelines.planning import PlanDefaults
from pipelines.recipes import Files
from server.deciding import Verdict, judge, read_pipelines
from server.store.rows import DecisionOutcome

LIBRARY = b"test:\n  unit:\n    image: busybox\n    commands: [true]\n"


def verdict(
    definitions: dict[str, bytes], *, branch: str = "main", files: Files | None = None
) -> Verdict:
    event = Event(
        kind=EventKind.PUSH,
        repository="acme/web",
        sha="1a2b3c4d5e6f" + "0" * 28,
        ref=f"refs/heads/{branch}",
        branch=branch,
        default_branch="main",
    )
    return judge(
        read_pipelines(definitions, {}),
        event,
        changed=None,
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
        defaults=PlanDefaults(timeout=60),
        files=files,
    )


def test_a_commit_without_a_definition_starts_nothing_and_says_where_was_looked() -> None:
    result = verdict({})

    assert result.outcome is DecisionOutcome.NOTHING
    assert result.reason == (
        "no pipeline at commit 1a2b3c4d5e6f (looked for .lading.yml, .lading/*.yml)"
    )


def test_a_matching_definition_becomes_a_run_with_its_plan_and_its_text() -> None:
    result = verdict({".lading.yml": LIBRARY})

    assert result.outcome is DecisionOutcome.STARTED
    (run,) = result.runs
    assert run.plan is not None
    assert [step.key for step in run.plan.steps] == ["test.unit"]
    assert run.definition == LIBRARY.decode()


def test_a_definition_for_another_branch_says_which_branch_it_wants() -> None:
    text = b"when: {event: push, branch: main}\n" + LIBRARY

    result = verdict({".lading.yml": text}, branch="dev")

    assert result.outcome is DecisionOutcome.NOTHING
    assert result.runs == ()
    assert "main" in result.reason
    assert "dev" in result.reason


def test_a_broken_definition_becomes_a_run_without_a_plan_that_tells_the_first_problem() -> None:
    result = verdict({".lading.yml": b"test:\n  unit:\n    script: [true]\n"})

    assert result.outcome is DecisionOutcome.INVALID
    (run,) = result.runs
    assert run.plan is None
    assert run.sentence.startswith(".lading.yml:")
    assert "script" in run.sentence


def test_one_broken_file_does_not_keep_another_from_running() -> None:
    result = verdict({".lading/a.yml": LIBRARY, ".lading/b.yml": b"nonsense: 1\n"})

    assert result.outcome is DecisionOutcome.STARTED
    assert [(run.pipeline, run.plan is not None) for run in result.runs] == [
        ("a", True),
        ("b", False),
    ]


def test_two_files_with_one_name_are_told_apart_as_a_problem_of_the_second() -> None:
    named = b"name: web\n" + LIBRARY

    result = verdict({".lading/a.yml": named, ".lading/b.yml": named})

    first, second = result.runs
    assert first.plan is not None
    assert second.plan is None
    assert second.pipeline == "web-b"
    assert "taken by .lading/a.yml" in second.sentence


def test_a_definition_that_is_a_link_is_told_as_its_problem() -> None:
    pipelines = read_pipelines({}, {".lading.yml": "is a symbolic link"})

    assert str(pipelines[0].problems[0]) == (
        ".lading.yml the file is a symbolic link (P091): make it a plain file"
    )


TEMPLATE = b"build:\n  web:\n    template: node\n    version: '22'\n"


def test_a_template_is_rendered_into_the_plan_of_the_files_that_are_there() -> None:
    files = Files(paths=frozenset({"package.json", "package-lock.json"}))
    (run,) = verdict({".lading.yml": TEMPLATE}, files=files).runs
    assert run.plan is not None
    work = run.plan.steps[0].work
    assert isinstance(work, BuildWork)
    assert work.template == "node"
    assert "npm ci" in (work.rendered or "")


def test_what_a_template_misses_in_the_commit_is_told_with_its_line() -> None:
    files = Files(paths=frozenset({"package.json"}))
    (run,) = verdict({".lading.yml": TEMPLATE}, files=files).runs
    assert run.plan is None
    (problem,) = run.problems
    assert (problem.code, problem.line, problem.column) == ("P073", 3, 15)
