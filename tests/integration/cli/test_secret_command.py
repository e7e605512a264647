"""`lading secret`, as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
VALUE = "correct horse battery staple"


def lading(
    folder: Path, *arguments: str, told: str | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        input=told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_secret_is_set_listed_and_removed_and_never_shown(tmp_path: Path) -> None:
    made = lading(
        tmp_path, "secret", "set", "npm", "--branch", "main", "--step", "push.*", told=VALUE
    )
    assert (made.returncode, made.stdout) == (0, "")
    assert "Secret npm of the server is set" in made.stderr

    listed = lading(tmp_path, "secret", "list")
    assert listed.stdout.splitlines()[1].split("  ")[0] == "npm"
    assert "main, push.*" in listed.stdout
    assert VALUE not in made.stderr + listed.stdout

    assert lading(tmp_path, "secret", "remove", "npm").returncode == 0
    again = lading(tmp_path, "secret", "remove", "npm")
    assert again.returncode == 1
    assert "the server has no secret 'npm'" in again.stderr


def test_a_short_secret_is_stored_with_a_warning(tmp_path: Path) -> None:
    made = lading(tmp_path, "secret", "set", "pin", told="1234\n")
    assert made.returncode == 0
    assert "too short to be taken out of output" in made.stderr


def test_what_cannot_be_a_secret_is_refused(tmp_path: Path) -> None:
    for arguments, told in (
        (("set", "Big Name"), VALUE),
        (("set", "npm", "--event", "merge"), VALUE),
        (("set", "npm", "--repository", "acme/none"), VALUE),
        (("set", "npm"), ""),
    ):
        refused = lading(tmp_path, "secret", *arguments, told=told)
        assert refused.returncode in (1, 2)
        assert "Traceback" not in refused.stderr


def test_a_new_key_opens_what_the_old_one_sealed(tmp_path: Path) -> None:
    lading(tmp_path, "secret", "set", "npm", told=VALUE)
    before = (tmp_path / "data" / "secrets.key").read_text()

    rotated = lading(tmp_path, "secret", "rotate")

    assert "1 secret is sealed with a new key" in rotated.stderr
    after = (tmp_path / "data" / "secrets.key").read_text()
    assert len(after.split()) == 1
    assert after != before
