"""Looking for what will go wrong, and saying how to mend it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from docker import auth

from pipelines.durations import format_size
from pipelines.engine.client import ENGINE_ERRORS, Client, connect, reason
from pipelines.problems import ExecutorUnavailableError, LadingError
from pipelines.recipes import TemplateError, catalogue
from pipelines.registries.kinds import kind_of
from pipelines.values import Value
from server import clock
from server.cli.tokens import opened
from server.config import Settings
from server.hosts.factory import make_hosts
from server.hosts.port import Host
from server.store import pauses, probe, soundness
from server.store.database import sqlite_path
from server.store.rows import PauseKind, PauseRow

ROOM = 2 * 1024**3
"""Bytes that must be free: below that a few images and logs fill the disk."""
HOST_SECONDS = 30.0
_LIMITS = (
    ("MemoryLimit", "memory", "`cgroup_enable=memory` on the kernel's command line"),
    ("PidsLimit", "processes", "a kernel with the pids cgroup"),
    ("CpuCfsQuota", "CPU", "a kernel with CFS bandwidth control"),
)


class Finding(Value):
    """What was found about one part."""

    part: str
    ok: bool
    message: str
    fix: str = ""


def run(settings: Settings, say: Callable[[str], None]) -> bool:
    """Check everything and say it; False when anything needs mending."""
    findings = asyncio.run(_examine(settings, say))
    faults = sum(not finding.ok for finding in findings)
    say("")
    say("Everything is well." if not faults else f"To mend: {faults}.")
    return not faults


async def _examine(settings: Settings, say: Callable[[str], None]) -> list[Finding]:
    findings = []
    for check in _checks(settings):
        for finding in await check:
            findings.append(finding)
            say(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.part}: {finding.message}")
            if finding.fix:
                say(f"       {'note' if finding.ok else 'fix'}: {finding.fix}")
    return findings


def _checks(settings: Settings) -> Iterator[Awaitable[list[Finding]]]:
    yield asyncio.to_thread(_disk, settings)
    yield asyncio.to_thread(_database, settings)
    if settings.recipes.folder is not None:
        yield asyncio.to_thread(_templates, settings.recipes.folder)
    yield asyncio.to_thread(_engine_and_registries, settings)
    yield asyncio.to_thread(_own_registries, settings)
    yield _hosts(settings)


def _disk(settings: Settings) -> list[Finding]:
    folder = _existing(settings.server.data.absolute())
    free = shutil.disk_usage(folder).free
    message = f"{format_size(free)} free at {settings.server.data}"
    fix = "" if free >= ROOM else f"free some space: {format_size(ROOM)} is the least to start with"
    return [Finding(part="disk", ok=free >= ROOM, message=message, fix=fix)]


def _templates(folder: Path) -> list[Finding]:
    try:
        names = catalogue(folder).names
    except TemplateError as error:
        fix = "mend it: the server does not start with a broken template"
        return [Finding(part="templates", ok=False, message=str(error), fix=fix)]
    return [Finding(part="templates", ok=True, message=f"there are {', '.join(names)}")]


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _database(settings: Settings) -> list[Finding]:
    path = sqlite_path(settings.database_url)
    try:
        if path is not None:
            soundness.refuse_network(path)
        with opened(settings) as database:
            database.run(probe.write_something)
            damage = database.run(probe.damage)
            paused = [] if damage else database.run(pauses.all_pauses, now=clock.now())
    except LadingError as error:
        # The message holds the fix already.
        return [Finding(part="database", ok=False, message=str(error))]
    if damage:
        fix = "stop the server and put a backup in its place with `lading restore FILE`"
        return [Finding(part="database", ok=False, message=f"damaged: {damage}", fix=fix)]
    fix = ""
    if path is not None and soundness.has_wal_reset_bug():
        fix = (
            f"SQLite {sqlite3.sqlite_version} has the WAL-reset bug: the server keeps clear of it, "
            "commands that write beside it may not; 3.51.3, 3.50.7 and 3.44.6 are without it"
        )
    message = "opens, is up to date and takes writes"
    own = Finding(part="database", ok=True, message=message, fix=fix)
    return [own, *map(_paused, paused)]


def _paused(row: PauseRow) -> Finding:
    """What the server could not do the last time it tried; only a host's quiet mends itself."""
    what = {
        PauseKind.QUIET: "asks for quiet",
        PauseKind.REFUSED: "refuses the token",
        PauseKind.HOOKS: "does not tell of missed deliveries",
        PauseKind.FETCH: "refuses git",
    }[row.kind]
    waiting = f"; {row.statuses} statuses wait" if row.statuses else ""
    part = f"host {row.host}" if row.full_name is None else f"repository {row.of}"
    message = f"{what} (since {row.since:%Y-%m-%d %H:%M} UTC{waiting})"
    return Finding(part=part, ok=row.kind is PauseKind.QUIET, message=message, fix=row.reason)


def _engine_and_registries(settings: Settings) -> list[Finding]:
    try:
        client = connect(settings.engine.url, timeout=60)
    except ExecutorUnavailableError as error:
        why = "needs the engine" if settings.registries else ""
        skipped = [
            Finding(part=f"registry {name}", ok=False, message=f"not tried: {why}")
            for name in settings.registries
        ]
        return [Finding(part="engine", ok=False, message=str(error)), *skipped]
    try:
        logins = [
            _registry(client, name, login.username, login.password.get_secret_value())
            for name, login in settings.registries.items()
            if not _is_key(name, login.username)
        ]
        return [*_engine(client, settings.engine.runtime), *logins]
    finally:
        client.close()


def _engine(client: Client, runtime: str | None) -> list[Finding]:
    info: dict[str, Any] = client.info()
    version = client.version().get("Version", "of unknown version")
    said = f"{info.get('Name', 'an engine')} answers, version {version}, API {client.api_version}"
    findings = [Finding(part="engine", ok=True, message=said)]
    for key, what, needed in _LIMITS:
        if not info.get(key):
            message = f"cannot limit {what}: a step could take all of the machine's"
            findings.append(
                Finding(part="engine", ok=False, message=message, fix=f"it needs {needed}")
            )
    known = info.get("Runtimes") or {}
    if runtime and runtime not in known:
        message = f"has no runtime {runtime!r}, it has {', '.join(sorted(known)) or 'none'}"
        fix = "install it in the engine's own configuration, or leave `engine.runtime` out"
        findings.append(Finding(part="engine", ok=False, message=message, fix=fix))
    return findings


def _registry(client: Client, name: str, username: str, password: str) -> Finding:
    """Log in through the engine, as pushes do: its own way to the registry is what counts."""
    part = f"registry {name}"
    address = auth.INDEX_URL if name == "docker.io" else name
    try:
        client.login(username=username, password=password, registry=address, reauth=True)
    except ENGINE_ERRORS as error:
        said = reason(error)
        refused = any(word in said.lower() for word in ("unauthorized", "401", "denied", "403"))
        fix = (
            f'check `registries."{name}"`: user and password or token, and that it may push'
            if refused
            else f"check the name {name!r}, and that the engine's machine can reach it"
        )
        return Finding(part=part, ok=False, message=f"no login: {said}", fix=fix)
    return Finding(part=part, ok=True, message=f"takes the login of {username}")


def _is_key(host: str, username: str) -> bool:
    """Whether what is configured is not the login itself, but what a login is fetched with."""
    return kind_of(host).name == "ecr" and username != "AWS"


def _own_registries(settings: Settings) -> list[Finding]:
    """Registries whose logins the engine cannot try as they are configured; we try them."""
    from server.cli.releases import registries_of

    findings = []
    try:
        with registries_of(settings) as (_, registries):
            for place in asyncio.run(registries.places()).values():
                in_file = settings.registries.get(place.host)
                if in_file is not None and not _is_key(place.host, in_file.username):
                    continue
                try:
                    message, ok = asyncio.run(registries.test(place.host)), True
                except LadingError as error:
                    message, ok = str(error), False
                findings.append(Finding(part=f"registry {place.host}", ok=ok, message=message))
    except LadingError as error:
        findings.append(Finding(part="registries", ok=False, message=str(error)))
    return findings


async def _hosts(settings: Settings) -> list[Finding]:
    if not settings.hosts:
        fix = "add a table `[hosts.NAME]`; config.example.toml shows each kind"
        return [Finding(part="hosts", ok=False, message="no git host is configured", fix=fix)]
    found = await asyncio.gather(*(_host(host) for host in make_hosts(settings).values()))
    return [*found, *_address(settings)]


async def _host(host: Host) -> Finding:
    part = f"host {host.name}"
    try:
        check = await asyncio.wait_for(host.check(), HOST_SECONDS)
    except TimeoutError:
        fix = "check its address in the configuration, and firewalls and proxies on the way"
        message = f"no answer within {HOST_SECONDS:.0f} s"
        return Finding(part=part, ok=False, message=message, fix=fix)
    except LadingError as error:
        return Finding(part=part, ok=False, message=str(error))
    return Finding(part=part, ok=check.ok, message=check.message, fix=check.fix)


def _address(settings: Settings) -> list[Finding]:
    if settings.server.url:
        return [Finding(part="address", ok=True, message=settings.server.url)]
    return [
        Finding(
            part="address",
            ok=True,
            message="`server.url` is not set",
            fix="links in statuses lead to this machine's own address; set it when others read",
        )
    ]
