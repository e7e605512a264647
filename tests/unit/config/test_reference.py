from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.config import ConfigInvalidError, load, reference, shape

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.toml"
REFERENCE = ROOT / "docs" / "reference" / "configuration.md"


def uncommented(text: str) -> str:
    return re.sub(r"^# (?=\[[a-z]|[a-z_]+ = )", "", text, flags=re.MULTILINE)


def values(tree: Mapping[str, object], above: shape.Path = ()) -> dict[shape.Path, object]:
    found: dict[shape.Path, object] = {}
    for name, value in tree.items():
        path = (*above, name)
        found |= values(value, path) if isinstance(value, dict) else {path: value}
    return found


def test_the_example_is_current() -> None:
    assert EXAMPLE.read_text() == reference.example(), "run scripts/docs"


def test_the_reference_is_current() -> None:
    assert REFERENCE.read_text() == reference.reference(), "run scripts/docs"


def test_the_example_loads_and_changes_nothing() -> None:
    data = EXAMPLE.parent / "data"

    assert load(EXAMPLE, {}) == load(None, {"LADING_SERVER__DATA": str(data)})


def test_with_every_line_made_real_only_the_example_secrets_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(uncommented(EXAMPLE.read_text()))

    with pytest.raises(ConfigInvalidError) as caught:
        load(file, {})

    wrong = {fault.wrong for fault in caught.value.faults}
    assert wrong == {"is the documentation's example, which everyone knows"}


def test_the_example_holds_every_setting() -> None:
    real = tomllib.loads(uncommented(EXAMPLE.read_text()))

    assert set(values(real)) == {path for path, _ in shape.places(real)}


def test_every_default_in_the_example_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = uncommented(EXAMPLE.read_text().partition("# A GitHub")[0])
    file.write_text(re.sub(r"^(url|runtime|key_path|folder) = .*", "", text, flags=re.MULTILINE))

    assert load(file, {}) == load(None, {"LADING_SERVER__DATA": str(tmp_path / "data")})


def test_every_setting_has_a_description() -> None:
    real = tomllib.loads(uncommented(EXAMPLE.read_text()))

    assert [path for path, key in shape.places(real) if not key.description] == []
