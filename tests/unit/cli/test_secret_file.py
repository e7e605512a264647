from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.plan import Plan
from server.cli import secret_file
from server.cli.errors import UsageError
from tests.unit.pipelines.building import PUSH, planned

TEXT = """\
test:
  release: {image: b, commands: c, env: {TOKEN: {from_secret: npm_token}}}
  lint: {image: b, commands: c}
"""


@pytest.fixture
def plan() -> Plan:
    return planned(TEXT, PUSH)


def written(folder: Path, text: str, name: str = "secrets.env") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("npm_token=abc$HOME${X}`id`", "abc$HOME${X}`id`"),
        ("npm_token='a b # c'", "a b # c"),
        ('npm_token="a\\nb"', "a\nb"),
        ("# why\n\nexport npm_token = abc # mine", "abc"),
        ('npm_token="one\ntwo"', "one\ntwo"),
    ],
)
def test_lines_are_read_as_dotenv_has_them_and_nothing_is_put_in(
    tmp_path: Path, line: str, value: str
) -> None:
    assert secret_file.read(written(tmp_path, f"{line}\n")) == {"npm_token": value}


def test_a_toml_file_is_read_as_such(tmp_path: Path) -> None:
    path = written(tmp_path, 'key = """\na\nb"""\n', "secrets.toml")

    assert secret_file.read(path) == {"key": "a\nb"}


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("hunter2hunter2", "s.env", "line 1"),
        ("a=1\n'hunter2hunter2", "s.env", "line 2"),
        ("a=hunter2hunter2\na=1", "s.env", "a stands twice"),
        ("NPM=hunter2hunter2", "s.env", "'NPM'"),
        ("a=", "s.env", "a in .* is empty"),
        ("a = 12", "s.toml", "a in .* is no text"),
        ("[a]\nb = 'hunter2hunter2'", "s.toml", "a in .* is no text"),
        ("a = ", "s.toml", "is no TOML"),
    ],
)
def test_what_cannot_be_used_is_told_without_what_it_may_hold(
    tmp_path: Path, text: str, name: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        secret_file.read(written(tmp_path, text, name))

    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        secret_file.read(tmp_path / "none.env")


def test_only_the_step_that_names_a_secret_gets_it(tmp_path: Path, plan: Plan) -> None:
    got = secret_file.for_steps(plan, {"npm_token": "x" * 9, "other": "y" * 9}, tmp_path)

    assert got.values == {"test.release": {"TOKEN": "x" * 9}}
    assert got.refused == {}


def test_a_step_that_names_what_the_file_lacks_is_refused(tmp_path: Path, plan: Plan) -> None:
    got = secret_file.for_steps(plan, {"npm_tokn": "x"}, tmp_path / "s.env")

    assert got.values == {}
    assert "no secret npm_token" in got.refused["test.release"]
    assert "only npm_tokn" in got.refused["test.release"]


def test_without_a_file_nothing_is_refused_and_it_is_said(plan: Plan) -> None:
    assert secret_file.for_steps(plan, {}, None).refused == {}
    assert list(secret_file.without(plan)) == [
        "test.release runs without npm_token: give it with --secrets FILE"
    ]


def test_a_service_gets_what_it_names_and_its_step_does_not(tmp_path: Path) -> None:
    service = "{db: {image: b, env: {PASSWORD: {from_secret: test_db}}}}"
    plan = planned(f"test: {{unit: {{image: b, commands: c, services: {service}}}}}", PUSH)

    got = secret_file.for_steps(plan, {"test_db": "x" * 9}, tmp_path)

    assert got.values == {"test.unit/db": {"PASSWORD": "x" * 9}}
    assert list(secret_file.without(plan)) == [
        "test.unit runs without test_db: give it with --secrets FILE"
    ]
