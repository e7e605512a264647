"""Caches of steps: volumes of the engine, filled and read by small containers of their own.

Each time one is kept, it is a new volume, which counts once it is whole; the older ones go then. So
whoever reads while another one writes reads something whole, and nobody waits. The files are copied
inside a container that has the two volumes, no network and a root file system that cannot be
written: whatever a link in them points at, it is not the machine's. Neither is anything copied into
or out of a container that has run (T10).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from functools import partial
from typing import Any, NamedTuple

from docker.errors import APIError, NotFound

from pipelines.crashing import reach
from pipelines.durations import format_size
from pipelines.engine.client import ENGINE_ERRORS, Client, Engine, reason
from pipelines.engine.containers import WORKSPACE, Attempt, Limits, confined, slug
from pipelines.engine.copying import FAULTS, KEEP, NOT_WHOLE, NOTHING, RESTORE, TOO_LARGE, size_in
from pipelines.engine.leftovers import quietly
from pipelines.engine.saying import last_output
from pipelines.images.session import ImageSession
from pipelines.plan import Cache
from pipelines.problems import LadingError

LABEL = "lading.cache"
_POWERS = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
"""Files keep their owners, whoever these are."""
_MEMORY = 512 * 2**20
_CACHE = "/cache"
_TRIES = 3
"""Volumes that are looked into before there is nothing: those not whole are of killed writers."""


class _Done(NamedTuple):
    """How a copy ended."""

    code: int
    output: bytes


class StepCache:
    """The cache of one step, as its event may use it."""

    def __init__(
        self, *, engine: Engine, attempt: Attempt, limits: Limits, workspace: str, cache: Cache
    ) -> None:
        self._engine = engine
        self._attempt = attempt
        self._limits = limits
        self._workspace = workspace
        self._cache = cache

    async def restore(self, session: ImageSession, image: str) -> None:
        """Put what was kept into the workspace, and say so; the step goes on also without it.

        Raises:
            StoppedError: The step shall stop.
            ExecutorUnavailableError: The engine is gone.
        """
        if not self._cache.reads:
            self._say(session, f"not used: {self._cache.refusal}")
            return
        try:
            await self._restore(session, image)
        except APIError as error:
            self._say(session, f"not restored: {reason(error)}")

    async def _restore(self, session: ImageSession, image: str) -> None:
        for scope in self._cache.reads:
            for volume in await self._engine.call(self._volumes, scope):
                done = await self._copy(session, image, RESTORE, volume, keeps=False)
                if done.code == NOT_WHOLE:
                    await self._engine.call(self._forget_unlabelled, volume)
                    continue
                self._say(session, _restored(done, scope, self._cache))
                return
        self._say(session, "nothing there yet")

    async def keep(self, session: ImageSession, image: str) -> None:
        """Keep the paths as they are now, where the event may, and say so.

        Nothing that goes wrong here changes how the step ended.
        """
        if self._cache.writes is None:
            if self._cache.reads:
                self._say(session, f"not written: {self._cache.refusal}")
            return
        volume = _name(self._attempt, self._digest(self._cache.writes))
        try:
            await self._engine.call(self._create, volume)
            done = await self._copy(session, image, KEEP, volume, keeps=True)
            reach("engine.cached")
            await self._engine.call(self._settle, volume, whole=done.code == 0)
        except (LadingError, *ENGINE_ERRORS) as error:
            with contextlib.suppress(*ENGINE_ERRORS):
                await self._engine.call(self._settle, volume, whole=False)
            self._say(session, f"not written: {reason(error)}")
            return
        self._say(session, _kept(done, self._limits.cache))

    def _say(self, session: ImageSession, text: str) -> None:
        session.say(f"[lading] cache {self._cache.key}: {text}")

    def _digest(self, scope: str) -> str:
        """What tells caches apart; a name at one host is no name at another."""
        attempt, cache = self._attempt, self._cache
        parts = [attempt.repository_id or attempt.repository, scope, cache.key, *cache.paths]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def _volumes(self, scope: str) -> list[str]:
        """Names of the volumes of a scope, the newest first."""
        return volumes_of(self._engine.client, self._attempt.server, self._digest(scope))[:_TRIES]

    def _create(self, volume: str) -> None:
        labels = {
            "lading.server": self._attempt.server,
            "lading.repository": self._attempt.repository,
            LABEL: self._digest(self._cache.writes or ""),
            f"{LABEL}.key": self._cache.key,
            f"{LABEL}.scope": self._cache.writes or "",
        }
        self._engine.client.create_volume(volume, labels=labels)

    def _settle(self, volume: str, *, whole: bool) -> None:
        """Remove the older ones, or this one where it is not whole."""
        gone = [volume]
        if whole:
            mine = volumes_of(
                self._engine.client, self._attempt.server, self._digest(self._cache.writes or "")
            )
            gone = [name for name in mine if name < volume]
        for name in gone:
            quietly(partial(self._engine.client.remove_volume, name))

    def _forget_unlabelled(self, volume: str) -> None:
        """Remove what the engine made by itself, of a name whose volume had just gone."""
        try:
            found = self._engine.client.inspect_volume(volume)
        except NotFound:
            return
        if LABEL not in (found.get("Labels") or {}):
            quietly(partial(self._engine.client.remove_volume, volume))

    async def _copy(
        self, session: ImageSession, image: str, script: str, volume: str, *, keeps: bool
    ) -> _Done:
        container = await self._engine.call(self._make, image, script, volume, keeps)
        try:
            await self._engine.call(self._engine.client.start, container)
            waiting = self._engine.background(partial(self._engine.streams.wait, container))
            ended = await session.watchdog.watch(waiting, session.interruption)
            session.interruption.check()
            said = await self._engine.call(last_output, self._engine.client, container, lines=5)
            return _Done(int(ended["StatusCode"]), said)
        finally:
            await self._engine.call(
                quietly,
                partial(self._engine.client.remove_container, container, force=True, v=True),
            )

    def _make(self, image: str, script: str, volume: str, keeps: bool) -> str:  # noqa: FBT001
        client = self._engine.client
        limits = self._limits.model_copy(
            update={"memory": min(self._limits.memory, _MEMORY), "log": 2**20}
        )
        workspace, cache = ("ro,nocopy", "nocopy") if keeps else ("nocopy", "ro,nocopy")
        config = confined(
            limits, runtime=self._engine.runtime, log_driver=self._engine.log_driver
        ) | {"cap_add": list(_POWERS)}
        created = client.create_container(
            image=image,
            entrypoint=["sh", "-c", script, str(self._limits.cache // 1024), *self._cache.paths],
            command=[],
            user="0:0",
            working_dir="/",
            labels=self._attempt.labels(),
            host_config=client.create_host_config(
                network_mode="none",
                read_only=True,
                binds=[f"{self._workspace}:{WORKSPACE}:{workspace}", f"{volume}:{_CACHE}:{cache}"],
                **config,
            ),
            use_config_proxy=False,
        )
        return str(created["Id"])


def volumes_of(client: Client, server: str, digest: str) -> list[str]:
    """Names of the volumes of one cache, the newest first. Blocking."""
    filters = {"label": [f"lading.server={server}", f"{LABEL}={digest}"]}
    found: list[dict[str, Any]] = client.volumes(filters=filters)["Volumes"] or []
    return sorted((str(each["Name"]) for each in found), reverse=True)


def _name(attempt: Attempt, digest: str) -> str:
    """A name that sorts by the time it was made."""
    made = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    return f"lading-{slug(attempt.server)}-cache-{digest}-{made}"


def _restored(done: _Done, scope: str, cache: Cache) -> str:
    if done.code != 0:
        return f"not restored: {_fault(done)}"
    size = size_in(done.output)
    others = scope != cache.writes and cache.writes is not None
    return f"restored{_of(size)}" + (" of the default branch" if others else "")


def _kept(done: _Done, limit: int) -> str:
    if done.code == 0:
        return f"kept{_of(size_in(done.output))}"
    if done.code == NOTHING:
        return "not written: none of its paths is there"
    if done.code == TOO_LARGE:
        return f"not written: it is larger than the {format_size(limit)} that a cache may have"
    return f"not written: {_fault(done)}"


def _of(size: int | None) -> str:
    return "" if size is None else f" {format_size(size)}"


def _fault(done: _Done) -> str:
    said = " ".join(done.output.decode(errors="replace").split())[-200:]
    return FAULTS.get(done.code, f"copying ended with {done.code}") + (f" ({said})" if said else "")
