"""Our own client of a registry, for a step: its login, and the engine's word on TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from pipelines.images.session import ImageSession
from pipelines.registries.client import RegistryClient
from pipelines.registries.names import Repository
from pipelines.registries.trust import is_insecure


@contextlib.asynccontextmanager
async def registry_client(
    session: ImageSession, repository: Repository
) -> AsyncIterator[RegistryClient]:
    """A client until the block ends.

    Raises:
        StoppedError: The step was asked to stop.
    """
    engine = session.engine
    _, login = session.login(str(repository))
    # That an engine trusts a registry without TLS rarely changes, and asking it takes a while.
    insecure = await session.ask(lambda: is_insecure(repository.api, engine.trusted))
    if not insecure:
        now = (await engine.call(engine.client.info)).get("RegistryConfig") or {}
        insecure = await session.ask(lambda: is_insecure(repository.api, now))
    with contextlib.closing(RegistryClient(repository, login=login, insecure=insecure)) as client:
        yield client
