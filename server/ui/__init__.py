"""Pages for people, rendered on the server; they work without JavaScript."""

from __future__ import annotations

import asyncio

from starlette.routing import BaseRoute

from server.actions import Actions
from server.artifacts import ArtifactStore
from server.clock import Clock
from server.dockerfiles import Dockerfiles
from server.logs import LogStore
from server.operations import Operations
from server.releases import Releases
from server.secrets import Secrets
from server.store import Database
from server.ui.deliveries import DeliveryPages
from server.ui.images import ImagePages
from server.ui.kept import KeptPages
from server.ui.operations import OperationPages
from server.ui.runs import RunPages
from server.ui.schedules import SchedulePages
from server.ui.secrets import SecretPages
from server.ui.signing_in import SigningIn
from server.ui.site import Rest, Site

__all__ = ["routes"]


def routes(
    *,
    database: Database,
    logs: LogStore,
    artifacts: ArtifactStore,
    actions: Actions,
    clock: Clock,
    base_url: str,
    public: bool,
    stopping: asyncio.Event,
    operations: Operations,
    secrets: Secrets,
    releases: Releases,
    dockerfiles: Dockerfiles,
) -> list[BaseRoute]:
    """The pages' routes; the last one takes every address that is left, so they come last.

    `public` opens reading to people without a token; changes always need one. `stopping` is set
    when the server is about to stop: streams end then.
    """
    site = Site(
        database=database,
        logs=logs,
        artifacts=artifacts,
        actions=actions,
        clock=clock,
        base_url=base_url,
        public=public,
        stopping=stopping,
        operations=operations,
        releases=releases,
        dockerfiles=dockerfiles,
    )
    return [
        site.assets.route(),
        *SigningIn(site).routes(),
        *RunPages(site).routes(),
        *KeptPages(site).routes(),
        *DeliveryPages(site).routes(),
        *ImagePages(site).routes(),
        *OperationPages(site).routes(),
        *SecretPages(site, secrets).routes(),
        *SchedulePages(site).routes(),
        Rest(site),
    ]
