"""File and environment to settings; every fault at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.config import environment, faults, shape
from server.config.environment import Given
from server.config.faults import ConfigInvalidError, Fault
from server.config.lines import lines
from server.config.models import RecipesSettings, Settings


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file, overruled by those of the environment.

    Without a file, the defaults and the environment. A relative `server.data` is taken to be
    beside the file, else in the current folder.

    Raises:
        ConfigInvalidError: with every fault of the file, the environment and the files it names.
    """
    text = _text(path) if path else ""
    data = _parsed(path, text)
    given, found = environment.read(environ, _with_kinds(data, environ))
    for setting in given:
        _put(data, setting)
    source = _Sources(path, text, given)
    found += _unverifiable_hosts(data, source)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found += faults.of_validation(error, data, source)
        raise ConfigInvalidError(found) from None
    if found:
        raise ConfigInvalidError(found)
    return _at_home(settings, path.parent if path else Path())


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise _unreadable(
            path,
            str(path),
            f"cannot be read: {error.strerror or error}",
            "name a file that is there and that Lading may read; config.example.toml is a start",
        ) from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        raise _unreadable(
            path, f"{path}:{before + 1}", "is no UTF-8 text", "save it as UTF-8"
        ) from None


def _parsed(path: Path | None, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the message of Python 3.11 tells the place.
        place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        message = str(error)[: place.start()] if place else str(error)
        where = f"{path}:{place[1]}:{place[2]}" if place else f"{path}, at its end"
        wrong = f"is no TOML: {message[:1].lower()}{message[1:]}"
        right = "mend it there; texts need quotes, tables `[name]`"
        raise _unreadable(path, where, wrong, right) from None


def _unreadable(path: Path | None, source: str, wrong: str, right: str) -> ConfigInvalidError:
    name = path.name if path else "configuration"
    return ConfigInvalidError([Fault(setting=name, source=source, wrong=wrong, right=right)])


def _with_kinds(data: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A host's kind decides which settings it has, and may come from the environment too."""
    hosts = data.get("hosts")
    if not isinstance(hosts, dict):
        return data
    told = {
        name: environ[variable]
        for name, host in hosts.items()
        if isinstance(host, dict)
        and (variable := environment.variable(("hosts", name, "kind"))) in environ
    }
    with_kinds = {
        name: {**host, "kind": told[name]} if name in told else host for name, host in hosts.items()
    }
    return {**data, "hosts": with_kinds}


def _put(data: dict[str, Any], setting: Given) -> None:
    """Set it, unless a table on its way is none: that is told by the models."""
    table: Any = data
    for name in setting.path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return
    table[setting.path[-1]] = setting.value


class _Sources:
    """Where each setting came from, in words: `config.toml:12`, `LADING_SERVER__PORT`."""

    def __init__(self, path: Path | None, text: str, given: Sequence[Given]) -> None:
        self._file = path.name if path else None
        self._lines = lines(text)
        self._given = {setting.path: setting.source for setting in given}

    def __call__(self, path: shape.Path) -> str:
        """The place of this setting, or of the nearest table above it."""
        if path in self._given:
            return self._given[path]
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(path[:length])) is not None:
                return f"{self._file}:{line}"
        return self._file or "configuration"


def _unverifiable_hosts(data: Mapping[str, Any], source: _Sources) -> Iterator[Fault]:
    hosts = data.get("hosts")
    for name, host in hosts.items() if isinstance(hosts, dict) else ():
        if not isinstance(host, dict) or any(_has_secret(table) for table in _tables(host)):
            continue
        path = ("hosts", name, "webhook_secret")
        yield Fault(
            setting=shape.dotted(path),
            source=source(path),
            wrong="is missing, and so no delivery of this host could be verified",
            right="give the secret that is set on the host's webhook, or one a repository",
        )


def _tables(host: Mapping[str, Any]) -> Iterator[object]:
    yield host
    repositories = host.get("repositories")
    if isinstance(repositories, dict):
        yield from repositories.values()


def _has_secret(table: object) -> bool:
    return isinstance(table, dict) and ("webhook_secret" in table or "signing_token" in table)


def _at_home(settings: Settings, folder: Path) -> Settings:
    data = (folder.absolute() / settings.server.data).resolve()
    home = {"server": settings.server.model_copy(update={"data": data})}
    if settings.recipes.folder is not None:
        own = (folder.absolute() / settings.recipes.folder).resolve()
        return settings.model_copy(update={**home, "recipes": RecipesSettings(folder=own)})
    return settings.model_copy(update=home)
