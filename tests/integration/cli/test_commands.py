"""The `lading` command, as a person runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server import clock
from server.auth import Gate, Need, NotPermittedError
from server.store import Database
from server.store.database import sqlite_url

ROOT = Path(__file__).parents[3]
RUN = "from server.cli import main; main()"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def lading(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "git").mkdir()
    (tmp_path / "config.toml").write_text(
        f'[hosts.forge]\nkind = "git"\nurl = "{tmp_path}/git"\nwebhook_secret = "{SECRET}"\n'
        "[engine]\nurl = 'unix:///nowhere/docker.sock'\n"
    )
    return tmp_path


def opens(folder: Path, token: str) -> bool:
    database = Database(sqlite_url(folder / "data" / "lading.db"))
    gate = Gate(database=database, clock=clock.now)
    try:
        asyncio.run(gate.permit(token, Need.CHANGE, public=False))
    except NotPermittedError:
        return False
    finally:
        database.close()
    return True


def test_help_loads_none_of_the_heavy_parts() -> None:
    code = (
        "import sys; import server.cli; "
        "print([m for m in ('pydantic', 'sqlalchemy', 'docker', 'starlette', 'alembic') "
        "if m in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [(), ("serve",), ("doctor",), ("token",), ("token", "create"), ("hook", "install")],
)
def test_every_command_has_help(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = lading(tmp_path, *command, "--help")

    assert result.returncode == 0
    assert "Usage:" in result.stdout


def test_a_token_stands_alone_on_standard_output_and_opens_the_server(folder: Path) -> None:
    result = lading(folder, "token", "create", "ada", "--expires", "90d")

    assert result.returncode == 0
    assert re.fullmatch(r"lading_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "good until" in result.stderr
    assert opens(folder, result.stdout.strip())


def test_a_tokens_text_is_nowhere_in_the_database(folder: Path) -> None:
    token = lading(folder, "token", "create", "ada").stdout.strip()

    for path in (folder / "data").iterdir():
        assert token.encode() not in path.read_bytes()
        assert token.removeprefix("lading_").encode() not in path.read_bytes()


def test_a_removed_token_opens_nothing(folder: Path) -> None:
    token = lading(folder, "token", "create", "ada").stdout.strip()

    result = lading(folder, "token", "remove", "ada")

    assert result.returncode == 0
    assert not opens(folder, token)
    assert lading(folder, "token", "remove", "ada").returncode == 1


def test_tokens_are_listed_by_name_without_their_texts(folder: Path) -> None:
    token = lading(folder, "token", "create", "ada").stdout.strip()

    result = lading(folder, "token", "list")

    assert re.search(r"^ada +\d{4}-\d\d-\d\d  never$", result.stdout, re.MULTILINE)
    assert token not in result.stdout


def test_a_name_is_given_once(folder: Path) -> None:
    lading(folder, "token", "create", "ada")

    result = lading(folder, "token", "create", "ada")

    assert (result.returncode, result.stdout) == (1, "")
    assert "lading token remove ada" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "create", "a/b"),
        ("token", "create", "ada", "--expires", "soon"),
        ("serve", "--port", "99999"),
        ("hook", "install", "nowhere", "--host", "other"),
        ("hook", "install", "/"),
        ("nothing",),
        ("doctor", "--config", "none.toml"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence_with_exit_code_2(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    result = lading(folder, *arguments)

    assert result.returncode == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_every_fault_of_the_configuration_is_told_at_once(folder: Path, command: str) -> None:
    (folder / "config.toml").write_text("[server]\nport = 99999\n[worker]\nslots = 0\n[x]\n")

    result = lading(folder, command)

    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for setting in ("server.port", "worker.slots", "x"):
        assert f"`{setting}`" in result.stderr


def test_the_hook_is_installed_with_what_the_configuration_knows(folder: Path) -> None:
    repository = folder / "git" / "acme" / "web.git"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)

    result = lading(folder, "hook", "install", str(repository))

    settings = (repository / "hooks" / "lading.json").read_text()
    assert result.returncode == 0
    assert '"repository": "acme/web"' in settings
    assert '"url": "http://127.0.0.1:8000"' in settings
    assert SECRET in settings
    assert SECRET not in result.stdout + result.stderr


def test_the_hook_is_not_put_where_no_repository_is(folder: Path) -> None:
    result = lading(folder, "hook", "install", str(folder / "git" / "none.git"))

    assert result.returncode == 1
    assert "no bare git repository" in result.stderr


def test_doctor_names_each_fault_with_its_fix(folder: Path) -> None:
    with (folder / "config.toml").open("a") as file:
        file.write('[registries."registry.test"]\nusername = "u"\npassword = "pass-word-1"\n')

    result = lading(folder, "doctor")

    assert result.returncode == 1
    assert "ok     database" in result.stdout
    assert "FAULT  engine: the container engine at unix:///nowhere/docker.sock" in result.stdout
    assert "engine.url" in result.stdout
    assert "FAULT  registry registry.test: not tried" in result.stdout
    assert "ok     host forge" in result.stdout
    assert "To mend: 2." in result.stdout
    assert "pass-word-1" not in result.stdout + result.stderr


def test_the_configuration_may_be_named_by_the_environment(folder: Path, tmp_path: Path) -> None:
    (folder / "config.toml").rename(folder / "other.toml")

    result = lading(tmp_path, "doctor", LADING_CONFIG=str(folder / "other.toml"))

    assert "ok     host forge" in result.stdout


def test_the_version_is_printed(tmp_path: Path) -> None:
    from server.version import VERSION

    assert lading(tmp_path, "version").stdout == f"{VERSION}\n"
