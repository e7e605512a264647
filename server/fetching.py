"""Fetching ahead: of many deliveries that wait, every commit in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from server.hosts.port import Host, HostError, Irrelevant, RepositoryRef
from server.mirrors import MirrorError, MirrorKey, Mirrors, Wanted
from server.store.rows import DeliveryRow

log = structlog.get_logger(__name__)


async def fetch_ahead(mirrors: Mirrors, host: Host, deliveries: Sequence[DeliveryRow]) -> None:
    """Bring here what deliveries of one repository speak of, so that each is then read at once.

    It only saves time: whatever goes wrong is found again, and told, when a delivery is read.
    """
    spoken_of = list(_spoken_of(host, deliveries))
    if not spoken_of:
        return
    ref, _ = spoken_of[-1]
    wanted = [one for named, one in spoken_of if named.external_id == ref.external_id]
    try:
        key = MirrorKey(host=host.name, external_id=ref.external_id)
        await mirrors.fetch_ahead(key, host.remote(ref), wanted)
    except (MirrorError, HostError) as error:
        log.info("commits are fetched one by one", host=host.name, why=str(error))


def _spoken_of(
    host: Host, deliveries: Sequence[DeliveryRow]
) -> Iterator[tuple[RepositoryRef, Wanted]]:
    for delivery in deliveries:
        try:
            payload = host.payload(delivery.headers, delivery.body)
            ref = host.repository(payload)
            event = host.read(delivery.headers, payload)
        except Exception:  # noqa: BLE001, S112 - reading it in earnest says what is wrong with it
            continue
        if ref is not None and not isinstance(event, Irrelevant):
            yield ref, Wanted(sha=event.sha, ref=event.ref, before=event.before)
