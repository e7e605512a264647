from __future__ import annotations

from pipelines.events import Event
from pipelines.explaining import Explained, explain
from pipelines.planning import PlanDefaults
from tests.unit.pipelines.building import PUSH, TAG, TIME, push_to

STEP = "test:\n  unit: {image: busybox, commands: [a]}\n"


def explained(
    files: dict[str, str],
    event: Event = PUSH,
    changed: frozenset[str] | None = None,
    unreadable: dict[str, str] | None = None,
) -> tuple[Explained, ...]:
    return explain(
        {file: text.encode() for file, text in files.items()},
        unreadable or {},
        event,
        changed=changed,
        committed_at=TIME,
        defaults=PlanDefaults(timeout=60),
    )


def one(text: str, event: Event = PUSH, changed: frozenset[str] | None = None) -> Explained:
    (found,) = explained({".lading.yml": text}, event, changed)
    return found


def test_what_matches_starts_with_its_plan() -> None:
    found = one(STEP)

    assert found.start
    assert not found.broken
    assert found.plan is not None
    assert [step.key for step in found.plan.steps] == ["test.unit"]


def test_what_does_not_match_says_so_for_each_condition_and_still_has_a_plan() -> None:
    found = one(f"when: {{event: push, branch: main}}\n{STEP}", push_to("dev"))

    assert not found.start
    assert not found.broken
    assert found.decision is not None
    assert [(each.key, each.ok) for each in found.decision.conditions] == [
        ("event", True),
        ("branch", False),
    ]
    assert found.plan is not None


def test_the_changed_paths_decide() -> None:
    text = f"when: {{event: push, path: src/**}}\n{STEP}"

    assert one(text, changed=frozenset({"src/a.py"})).start
    assert not one(text, changed=frozenset({"README.md"})).start


def test_a_file_with_mistakes_is_broken_and_tells_them() -> None:
    found = one("test: {unit: {script: [a]}}\n")

    assert found.broken
    assert found.start
    assert [each.code for each in found.problems] == ["P010", "P035"]


def test_an_image_without_a_name_breaks_only_the_events_that_start() -> None:
    text = "when: {event: tag}\ntest:\n  a: {image: 'x:${tag}', commands: [a]}\n"

    assert not one(text, TAG).broken
    assert not one(text, PUSH).broken
    assert not one(text, PUSH).start


def test_a_pipeline_of_which_every_step_is_left_out_does_not_start() -> None:
    found = one("test:\n  a: {image: b, commands: [c], when: {event: tag}}\n")

    assert not found.start
    assert found.reason == "No run: no step is left."


def test_each_file_is_explained_and_one_broken_does_not_hide_another() -> None:
    found = explained(
        {".lading/a.yml": "x: y\n", ".lading/b.yml": STEP}, unreadable={".lading.yaml": "is not"}
    )

    assert [(each.file, each.broken) for each in found] == [
        (".lading.yaml", True),
        (".lading/a.yml", True),
        (".lading/b.yml", False),
    ]
