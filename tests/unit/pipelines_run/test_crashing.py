from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.crashing import POINTS

ROOT = Path(__file__).parents[3]


def trees(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text())


def reached() -> list[str]:
    """The name in each `reach("…")` of the product."""
    names = []
    for tree in trees("pipelines", "server"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "reach":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant)
                names.append(str(argument.value))
    return names


def test_each_point_of_the_list_is_in_one_place_of_the_code_and_none_beside() -> None:
    assert sorted(reached()) == sorted(POINTS)


def test_each_point_is_where_some_test_lets_the_server_end() -> None:
    constants = {
        node.value.partition(":")[0]
        for tree in trees("tests/faults")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert POINTS.keys() <= constants


@pytest.mark.parametrize(
    ("wanted", "code"),
    [("runs.ended", 9), ("runs.ended:2", 9), ("runs.ended:3", 0), ("logs.bytes", 0), (None, 0)],
)
def test_a_process_ends_at_the_point_and_the_time_it_was_told(
    wanted: str | None, code: int
) -> None:
    program = "from pipelines.crashing import reach; reach('runs.ended'); reach('runs.ended')"
    environment = {} if wanted is None else {"CRASH_AT": wanted}

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False)

    assert done.returncode == code
