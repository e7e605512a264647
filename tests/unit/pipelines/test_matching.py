from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipelines.events import Event, EventKind, Slot
from pipelines.matching import Changed, decide, left_out, needs_changes
from tests.unit.pipelines.building import MANUAL, PULL, PUSH, TAG, defined, push_to, tagged

REST = "\nbuild: {web: {}}\n"


def reason(when: str, event: Event, changed: Changed = None) -> str:
    return decide(defined(f"when: {when}{REST}"), event, changed).reason


def starts(when: str, event: Event, changed: Changed = None) -> bool:
    return decide(defined(f"when: {when}{REST}"), event, changed).start


@pytest.mark.parametrize("event", [PUSH, PULL, TAG, MANUAL])
def test_without_when_every_event_starts_a_run(event: Event) -> None:
    assert decide(defined(REST), event, None).start


def test_the_reason_names_what_each_entry_wanted_and_what_there_was() -> None:
    when = "[{event: push, branch: [main, release/*]}, {event: tag}]"
    assert reason(when, push_to("dev")) == (
        "No run: `when` entry 1 wants branch main or release/*, this push was to dev; "
        "entry 2 wants event tag, this was push."
    )


def test_a_single_entry_is_not_numbered() -> None:
    assert reason("{event: tag}", PUSH) == "No run: `when` wants event tag, this was push."


def test_many_entries_are_counted_and_not_told() -> None:
    when = "[" + ", ".join(f"{{branch: b{number}}}" for number in range(5)) + "]"
    assert reason(when, PUSH).endswith(
        "entry 3 wants branch b2, this push was to main; 2 more do not match."
    )


def test_many_patterns_are_counted_and_not_told() -> None:
    assert "wants branch a, b, c, d or 2 more, this" in reason("{branch: [a, b, c, d, e, f]}", PUSH)


def test_entries_are_alternatives_and_keys_are_not() -> None:
    when = "[{event: tag}, {event: push, branch: main}]"
    assert starts(when, PUSH)
    assert not starts(when, push_to("dev"))


def test_the_reason_to_start_names_the_entry() -> None:
    assert reason("[{event: tag}, {event: push, branch: m*}]", PUSH) == (
        "Run: `when` entry 2: event push matches; branch main matches m*."
    )


def test_a_pull_request_is_held_against_the_branch_it_wants_to_go_into() -> None:
    assert starts("{branch: main}", PULL)
    assert "this pull request wants to go into main" in reason("{branch: dev}", PULL)


def test_a_tag_has_no_branch() -> None:
    assert reason("{branch: main}", TAG) == "No run: `when` wants branch main, this was a tag."


def test_a_push_has_no_tag() -> None:
    assert reason("{tag: v*}", PUSH) == "No run: `when` wants tag v*, this was a push."


def test_a_tag_is_held_against_patterns() -> None:
    assert starts("{tag: v*}", TAG)
    assert reason("{tag: v*}", tagged("x")) == "No run: `when` wants tag v*, this tag was x."


def test_a_person_may_always_start_a_run() -> None:
    decision = decide(defined(f"when: {{event: tag}}{REST}"), MANUAL, None)
    assert decision.start
    assert decision.reason == "Run: a person asked for it, so `when` is not looked at."


@pytest.mark.parametrize("mark", ["[skip ci]", "[ci skip]", "[SKIP CI]", "[Ci Skip]"])
def test_a_push_can_be_skipped_by_its_message(mark: str) -> None:
    decision = decide(defined(REST), PUSH.model_copy(update={"message": f"Typo {mark}"}), None)
    assert not decision.start
    assert decision.reason == f"No run: the commit message says {mark}."


@pytest.mark.parametrize("event", [TAG, PULL, MANUAL])
def test_only_a_push_can_be_skipped_by_its_message(event: Event) -> None:
    assert decide(defined(REST), event.model_copy(update={"message": "[skip ci]"}), None).start


@pytest.mark.parametrize("message", ["skip ci", "[skip  ci]", "[ci-skip]"])
def test_other_words_do_not_skip(message: str) -> None:
    assert decide(defined(REST), PUSH.model_copy(update={"message": message}), None).start


def test_a_changed_path_must_match() -> None:
    when = "{path: [src/**, Dockerfile]}"
    assert starts(when, PUSH, frozenset({"README.md", "src/a/b.py"}))
    assert reason(when, PUSH, frozenset({"a", "b"})) == (
        "No run: `when` wants a change of src/** or Dockerfile, none of 2 changed files is one."
    )


def test_an_excluded_path_does_not_count() -> None:
    when = '{path: {include: [src/**], exclude: ["**/*.md"]}}'
    assert starts(when, PUSH, frozenset({"src/a.md", "src/a.py"}))
    assert reason(when, PUSH, frozenset({"src/a.md"})) == (
        "No run: `when` wants a change of src/** but not **/*.md, the one changed file is none."
    )


def test_exclude_alone_means_everything_else() -> None:
    assert starts("{path: {exclude: docs/}}", PUSH, frozenset({"a"}))
    assert not starts("{path: {exclude: docs/}}", PUSH, frozenset({"docs/a"}))


def test_a_push_without_changed_files_matches_no_path() -> None:
    assert "no file changed" in reason('{path: "**"}', PUSH, frozenset())


def test_unknown_changes_count_as_a_match_and_the_reason_says_so() -> None:
    assert "the changed files are not known" in reason("{path: src/**}", PUSH, None)
    assert starts("{path: src/**}", PUSH, None)


def test_a_tag_is_never_held_against_paths() -> None:
    assert starts("{path: src/**}", TAG, frozenset())


def test_every_condition_is_told_entry_by_entry() -> None:
    definition = defined("when: [{event: tag, tag: v*}, {branch: main, path: a}]" + REST)
    told = [(each.entry, each.key, each.ok) for each in decide(definition, PUSH, None).conditions]
    assert told == [
        (1, "event", False),
        (1, "tag", False),
        (2, "event", True),
        (2, "branch", True),
        (2, "path", True),
    ]


@pytest.mark.parametrize(
    ("text", "event", "wanted"),
    [
        ("when: {path: a}", PUSH, True),
        ("when: {path: a}", PULL, True),
        ("when: {path: a}", TAG, False),
        ("when: {path: a}", MANUAL, False),
        ("when: {branch: dev, path: a}", PUSH, False),
        ("when: {branch: main}", PUSH, False),
        ("test: {a: {image: b, commands: c, when: {path: d}}}", PUSH, True),
        ("push: {web: {to: localhost/web, when: {path: d}}}", PUSH, True),
    ],
)
def test_changes_are_worth_finding_out_only_where_they_decide(
    text: str, event: Event, wanted: bool
) -> None:
    assert needs_changes(defined(text + REST), event) is wanted


def test_a_strangers_long_name_is_cut_in_the_reason() -> None:
    assert len(reason("{branch: main}", push_to("x" * 5000))) < 200


def test_a_step_without_when_is_not_left_out() -> None:
    assert left_out(None, PUSH, None) is None


NIGHTLY = '{event: schedule, cron: "0 3 * * *", timezone: Europe/Berlin}'


def slot(cron: str = "0 3 * * *", timezone: str = "Europe/Berlin") -> Event:
    at = datetime(2026, 5, 4, 1, tzinfo=UTC)
    found = Slot(file=".lading.yml", cron=cron, timezone=timezone, at=at)
    return PUSH.model_copy(update={"kind": EventKind.SCHEDULE, "slot": found, "before": None})


def test_a_schedule_starts_the_entry_that_names_it() -> None:
    assert reason(f"[{{event: push}}, {NIGHTLY}]", slot()) == (
        "Run: `when` entry 2: event schedule matches; "
        "cron 0 3 * * * in Europe/Berlin, for 2026-05-04 03:00."
    )


def test_a_schedule_starts_no_entry_that_names_another_time() -> None:
    assert not starts(NIGHTLY, slot(cron="0 4 * * *"))
    assert not starts(NIGHTLY, slot(timezone="UTC"))
    assert not starts("{branch: main}", slot())


def test_a_time_of_a_schedule_is_one_happening_whatever_commit_it_finds() -> None:
    moved = slot().model_copy(update={"sha": "e" * 40})
    assert moved.key == slot().key
    assert slot(cron="0 4 * * *").key != slot().key
