from __future__ import annotations

from pathlib import Path

from server.cli.reference import reference

COMMANDS = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"


def test_the_reference_of_the_commands_is_current() -> None:
    assert COMMANDS.read_text() == reference(), "run scripts/docs"


def test_every_argument_and_option_is_explained() -> None:
    assert [line for line in reference().splitlines() if line.endswith("` |  |")] == []
