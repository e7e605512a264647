from __future__ import annotations

import pytest
from typer.main import get_group

from server import cli

ALL = sorted(get_group(cli.app).commands)


def built(*words: str) -> list[str]:
    return sorted(get_group(cli._named(words)).commands)


@pytest.mark.parametrize("name", ALL)
def test_of_all_commands_only_the_one_that_is_named_is_built(name: str) -> None:
    assert built(name, "--help") == [name]


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("rum",), ("",)])
def test_where_none_is_named_all_are_built_for_help_and_suggestions(words: tuple[str, ...]) -> None:
    assert built(*words) == ALL


def test_what_one_command_needs_leaves_the_rest_as_it_was() -> None:
    built("run")

    assert sorted(get_group(cli.app).commands) == ALL
