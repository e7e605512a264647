from __future__ import annotations

import json

from benchmarks.figures import Figure
from benchmarks.table import as_json, render

REACHED = Figure(
    name="one-step",
    work="one step",
    to_reach="≤ 1.5 ×",
    ours="412 ms",
    bare="300 ms",
    ratio=1.373,
    reached=True,
    rounds=15,
    note="ours 400 ms to 450 ms",
    measured={"ours_seconds": (0.4, 0.412, 0.45)},
)
MISSED = Figure(
    name="memory", work="memory", to_reach="110 MB", ours="114 MB", reached=False, rounds=3
)


def test_a_row_states_figures_ratio_and_how_often_it_was_measured() -> None:
    line = render([REACHED]).splitlines()[2]

    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["one step", "≤ 1.5 ×", "412 ms (n = 15)", "300 ms", "1.37", "yes"]


def test_a_row_without_a_bare_tool_has_no_ratio_and_a_missed_one_says_no() -> None:
    line = render([MISSED]).splitlines()[2]

    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["memory", "110 MB", "114 MB (n = 3)", "–", "–", "NO"]


def test_all_lines_of_the_table_are_equally_wide() -> None:
    lines = render([REACHED, MISSED]).splitlines()

    assert len({len(line) for line in lines[:4]}) == 1


def test_notes_stand_below_the_table_with_the_name_to_measure_that_row_alone() -> None:
    assert render([REACHED, MISSED]).splitlines()[5:] == ["- one-step: ours 400 ms to 450 ms"]


def test_a_table_without_notes_ends_with_its_last_row() -> None:
    assert render([MISSED]).splitlines()[-1].startswith("| memory")


def test_the_json_holds_every_single_measurement_and_the_machine() -> None:
    told = json.loads(json.dumps(as_json([REACHED], {"cores": 2})))

    assert told["machine"] == {"cores": 2}
    assert told["figures"][0]["measured"] == {"ours_seconds": [0.4, 0.412, 0.45]}
    assert told["figures"][0]["reached"] is True
