"""`lading doctor` with a real engine and a real registry."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from scripts.parts.registry import Registry
from server import clock
from server.cli import checkup
from server.config import (
    EngineSettings,
    GitSettings,
    RecipesSettings,
    RegistrySettings,
    ServerSettings,
    Settings,
)
from server.hosts.port import RepositoryRef
from server.store import Database, pauses, repositories
from server.store.migrations import upgrade
from server.store.rows import PauseKind


@pytest.fixture
def settings(tmp_path: Path, engine_url: str, registry: Registry) -> Settings:
    return Settings(
        server=ServerSettings(data=tmp_path / "data", url="http://ci.test"),
        engine=EngineSettings(url=engine_url),
        hosts={
            "forge": GitSettings(
                kind="git",
                url=str(tmp_path),
                webhook_secret=SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            )
        },
        registries={
            registry.address: RegistrySettings(
                username=registry.username or "", password=SecretStr(registry.password or "")
            )
        },
    )


def test_all_is_well_where_all_is_well(settings: Settings) -> None:
    said: list[str] = []

    well = checkup.run(settings, said.append)

    assert well, said
    assert said[-1] == "Everything is well."
    assert any("takes the login of" in line for line in said)


def test_a_wrong_password_is_told_with_the_setting_to_mend(settings: Settings) -> None:
    name, login = next(iter(settings.registries.items()))
    wrong = login.model_copy(update={"password": SecretStr("not-the-password")})
    said: list[str] = []

    well = checkup.run(settings.model_copy(update={"registries": {name: wrong}}), said.append)

    text = "\n".join(said)
    assert not well
    assert f"FAULT  registry {name}: no login" in text
    assert f'check `registries."{name}"`' in text
    assert "not-the-password" not in text


def test_what_a_host_refused_the_server_is_told_with_what_to_do(settings: Settings) -> None:
    settings.server.data.mkdir()
    upgrade(settings.database_url)
    with contextlib.closing(Database(settings.database_url)) as database:
        ref = RepositoryRef(external_id="acme/web", full_name="acme/web")
        row = database.run(repositories.remember_repository, host="forge", ref=ref, at=clock.now())
        for kind, repository in ((PauseKind.HOOKS, row.id), (PauseKind.QUIET, 0)):
            database.run(
                pauses.pause,
                "forge",
                kind=kind,
                repository=repository,
                reason="give the token the right",
                now=clock.now(),
                until=clock.now() + timedelta(hours=1),
            )
    said: list[str] = []

    well = checkup.run(settings, said.append)

    text = "\n".join(said)
    assert not well
    assert "FAULT  repository acme/web on forge: does not tell of missed deliveries" in text
    assert "       fix: give the token the right" in text
    assert "ok     host forge: asks for quiet" in text


def test_a_broken_template_is_told_before_the_server_refuses_to_start(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "templates" / "php").mkdir(parents=True)
    (tmp_path / "templates" / "php" / "template.toml").write_text("summary = 1")
    said: list[str] = []
    own = {"recipes": RecipesSettings(folder=tmp_path / "templates")}

    assert not checkup.run(settings.model_copy(update=own), said.append)
    assert any(line.startswith("FAULT  templates: ") and "php" in line for line in said)
