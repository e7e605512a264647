"""Every registry that a login is known for, and clients that speak to them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from urllib.parse import urlsplit

from pipelines.registries.client import RegistryClient
from pipelines.registries.guard import Guard
from pipelines.registries.kinds import KindError, kinds
from pipelines.registries.kinds.port import GENERIC
from pipelines.registries.limits import RateLimit
from pipelines.registries.logins import Login as LoginOfRegistry
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError
from pipelines.registries.tags import check_push, digest_of
from server.actions import AwayError, ConflictError, InputsError, NotFoundError
from server.clock import Clock
from server.config.models import RegistrySettings
from server.registries.accounts import (
    Login,
    Place,
    Source,
    configured,
    host_named,
    sealed,
    stored,
)
from server.registries.logins import LiveLogins
from server.store import Database
from server.store import registries as verbs
from server.vault import Vault

Question = Callable[[RegistryClient], object]

MOST_CLIENTS = 64
"""Repositories to which connections are kept."""
ANYBODY = "anybody/anything"
"""A repository to say who one is at, where nothing is pulled."""


class Registries:
    """Logins of the configuration, which win, and stored ones.

    Args:
        settings: Of the configuration, by host.
        private: Private networks in which registries added through the API may lie.
    """

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        clock: Clock,
        settings: Mapping[str, RegistrySettings],
        private: Iterable[str] = (),
    ) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._settings = settings
        self._guard = Guard([ipaddress.ip_network(each) for each in private])
        self._clients: OrderedDict[str, tuple[Place | None, RegistryClient]] = OrderedDict()
        self._limits: dict[str, RateLimit] = {}
        self.logins = LiveLogins(clock)

    @property
    def _configured(self) -> dict[str, Place]:
        return configured(self._settings)

    async def places(self) -> dict[str, Place]:
        """Every registry by host, with what was found out about it last.

        Raises:
            VaultError: The key file does not open a login.
        """
        rows = await self._database.read(verbs.all_registries)
        limits = await self._database.read(verbs.limits)
        found = {row.host: stored(row, self._vault) for row in rows} | self._configured
        return {
            host: place.model_copy(
                update={
                    "limit": limits.get(host),
                    "fault": place.fault or self.logins.fault(host),
                }
            )
            for host, place in sorted(found.items())
        }

    async def refresh(self) -> None:
        """Have `logins` hold what is stored now, renewed where its end is near."""
        places = await self.places()
        await asyncio.to_thread(self.logins.use, places)

    async def add(self, login: Login, *, by: str, guarded: bool, check: bool = True) -> Place:
        """Store a login, in place of the one for that host, once the registry has taken it.

        Args:
            login: What is stored.
            by: Who stores it.
            guarded: Whether a stranger to this machine named the host: then it must be public.
            check: Whether permission to push is tried before.

        Raises:
            InputsError: It cannot be a login there, or there is no repository to try it at.
            ConflictError: The configuration has a login for that host, or the registry refused it.
            AwayError: The registry does not answer.
        """
        new = await self._sealed(login, by=by, guarded=guarded)
        if new.host in self._configured:
            raise ConflictError(
                f'config.toml has a login for {new.host}, which wins: change `registries."'
                f'{new.host}"` there, or take it out first'
            )
        place = stored(
            verbs.RegistryRow(
                **new.model_dump(), id=0, changed_at=self._clock(), checked_at=None, fault=None
            ),
            self._vault,
        )
        await self._see_host(place)
        if check:
            path = place.probe or await self._known_path(place.host)
            if path is None:
                raise InputsError(
                    f"nothing was pushed to {place.host} yet: name a repository that the login "
                    "may push to, so that it can be tried (`--repository acme/web`, in the API "
                    "`probe`); nothing is left behind there"
                )
            await self._try(place, path)
        await self._database.write(verbs.set_registry, new, at=self._clock(), checked=check)
        await self.refresh()
        return (await self.places())[new.host]

    async def _sealed(self, login: Login, *, by: str, guarded: bool) -> verbs.NewRegistry:
        try:
            return await asyncio.to_thread(sealed, login, self._vault, by=by, guarded=guarded)
        except KindError as error:
            raise InputsError(str(error)) from error

    async def _see_host(self, place: Place) -> None:
        """What a stranger names must be public, also where nothing is asked there yet."""
        if not place.guarded:
            return
        there = urlsplit(f"https://{Repository.parse(f'{place.host}/x').api}")
        try:
            host, port = there.hostname or "", there.port or 443
            await asyncio.to_thread(self._guard.addresses, host, port)
        except (OSError, ValueError) as error:
            raise InputsError(f"{place.host} cannot be used: {error}") from error

    async def test(self, host: str) -> str:
        """Try a known login; what to say about it.

        Raises:
            NotFoundError: There is none for that host.
            ConflictError: The registry refused it.
            AwayError: The registry does not answer.
        """
        place = await self._place(host)
        path = place.probe or await self._known_path(place.host)
        try:
            if path is None:
                await self._greet(place)
                said = f"{place.host} answers; which repository it may push to is not known yet"
            else:
                await self._try(place, path)
                said = f"{place.host} takes the login, which may push to {path}"
        except (ConflictError, AwayError) as error:
            await self._note(place, str(error))
            raise
        await self._note(place, None)
        limit = self._limits.get(place.host)
        return said if limit is None else f"{said}; {limit.sentence}"

    async def remove(self, host: str) -> None:
        """Forget a stored login.

        Raises:
            NotFoundError: There is none for that host.
            ConflictError: It is the configuration's.
        """
        place = await self._place(host)
        if place.source is Source.CONFIG:
            raise ConflictError(
                f"the login for {place.host} stands in config.toml: remove it there"
            )
        await self._database.write(verbs.remove_registry, place.host)
        await self.refresh()

    async def client(self, image: str) -> RegistryClient:
        """A client for an image's repository; its connections are kept, so do not close it.

        Raises:
            AwayError: No login can be had.
        """
        named = Repository.parse(image)
        place = (await self.places()).get(named.host)
        known = self._clients.pop(image, None)
        if known is not None and _same(known[0], place):
            self._clients[image] = known
            return known[1]
        if known is not None:
            known[1].close()
        while len(self._clients) >= MOST_CLIENTS:
            self._clients.popitem(last=False)[1][1].close()
        client = await asyncio.to_thread(self._made, named, place)
        self._clients[image] = (place, client)
        return client

    async def saw(self, client: RegistryClient) -> None:
        """Keep the rate limit that a registry told a client, for showing."""
        host, limit = client.repository.host, client.limit
        if limit is not None and self._limits.get(host) != limit:
            self._limits[host] = limit
            await self._database.write(verbs.limit_seen, host, limit, at=self._clock())

    def close(self) -> None:
        """Drop every connection."""
        while self._clients:
            self._clients.popitem()[1][1].close()

    def _made(self, named: Repository, place: Place | None) -> RegistryClient:
        """A client with the login that is good now. Blocking: it may ask AWS."""
        if place is None:
            return RegistryClient(named, login=None, insecure=_is_local(named.host))
        logins = LiveLogins(self._clock)
        logins.use({place.host: place})
        fault = logins.fault(place.host)
        if fault is not None:
            raise AwayError(fault)
        return RegistryClient(
            named,
            login=logins.get(place.host),
            insecure=place.insecure or _is_local(place.host),
            guard=self._guard if place.guarded else None,
            renew=partial(logins.enter, place.host, anew=True),
        )

    async def _try(self, place: Place, path: str) -> None:
        """See that a login may push, making the repository where that is wanted."""
        named = Repository.parse(f"{place.host}/{path}")
        kind = kinds().get(place.kind, GENERIC)

        def ask(client: RegistryClient) -> None:
            try:
                check_push(client)
            except RegistryError as error:
                if error.refusal is not Refusal.NOT_FOUND or not place.account.create:
                    raise
                kind.make(place.account, named.path)
                check_push(client)

        await self._ask(place, named, ask)

    async def _greet(self, place: Place) -> None:
        await self._ask(place, Repository(host=place.host, path=ANYBODY), RegistryClient.ping)

    async def _ask(self, place: Place, named: Repository, question: Question) -> None:
        def ask() -> RateLimit | None:
            entered = kinds().get(place.kind, GENERIC).enter(place.account)
            with contextlib.closing(
                RegistryClient(
                    named,
                    login=entered.login,
                    insecure=place.insecure or _is_local(place.host),
                    guard=self._guard if place.guarded else None,
                )
            ) as client:
                question(client)
                return client.limit or self._counted(place, entered.login)

        try:
            limit = await asyncio.to_thread(ask)
        except KindError as error:
            raise ConflictError(str(error)) from error
        except RegistryError as error:
            raise (AwayError if error.worth_retrying else ConflictError)(str(error)) from error
        if limit is not None:
            self._limits[place.host] = limit
            await self._database.write(verbs.limit_seen, place.host, limit, at=self._clock())

    def _counted(self, place: Place, login: LoginOfRegistry) -> RateLimit | None:
        """The limit by a HEAD that does not count, where the kind has one."""
        probe = kinds().get(place.kind, GENERIC).pulls_probe
        if probe is None:
            return None
        path, _, tag = probe.partition(":")
        named = Repository.parse(f"{place.host}/{path}")
        guard = self._guard if place.guarded else None
        with contextlib.closing(
            RegistryClient(named, login=login, insecure=False, guard=guard)
        ) as client:
            with contextlib.suppress(RegistryError):
                digest_of(client, tag)
            return client.limit

    async def _place(self, host: str) -> Place:
        found = (await self.places()).get(host_named(host))
        if found is None:
            raise NotFoundError(
                f"there is no login for {host[:100]}: `lading registry list` names them all"
            )
        return found

    async def _known_path(self, host: str) -> str | None:
        image = await self._database.read(verbs.newest_image_at, host)
        return None if image is None else Repository.parse(image).path

    async def _note(self, place: Place, fault: str | None) -> None:
        await self._database.write(
            verbs.registry_checked, place.host, fault=fault, at=self._clock()
        )


def _same(one: Place | None, other: Place | None) -> bool:
    """Whether a client made for one serves the other: what was seen of it last does not matter."""
    if one is None or other is None:
        return one is other
    return (one.account, one.kind, one.insecure, one.guarded) == (
        other.account,
        other.kind,
        other.insecure,
        other.guarded,
    )


def _is_local(host: str) -> bool:
    """Whether it is on this machine, where engines, too, want no TLS."""
    name = (
        host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    )
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
