"""F40: the unit that the documentation shows starts the server at boot, as often as it takes."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

from tests.parts.process import ROOT

UNIT = ROOT / "examples" / "systemd" / "lading.service"
PAGE = ROOT / "docs" / "how-to" / "run-in-production.md"


def parsed() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's case counts
    parser.read_string(UNIT.read_text())
    return parser


def test_systemd_itself_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    unit = parsed()
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    copy = tmp_path / UNIT.name
    # Lading is not installed where the unit says; everything else is as it will be.
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:  # where it is not, that it can be parsed must do
        done = subprocess.run(
            [analyze, "verify", str(copy)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_server_starts_with_the_machine_and_again_after_every_end() -> None:
    unit = parsed()

    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert "Requires" not in unit["Unit"]  # an engine that fails must not take the door along
    assert float(unit["Service"]["TimeoutStopSec"]) >= 30  # a push may need 15


def test_the_page_shows_the_unit_as_it_is() -> None:
    shown = re.findall(r"(?s)```ini\n(.*?)```", PAGE.read_text())

    assert UNIT.read_text() in shown
