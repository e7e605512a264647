"""Logins that runs push and pull with: renewed before they end, and when one is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import structlog

from pipelines.registries.kinds import Account, KindError, kinds
from pipelines.registries.kinds.port import GENERIC, Kind, Pass
from pipelines.registries.logins import Login
from pipelines.registries.mending import MendingLogins
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal
from server.clock import Clock
from server.registries.accounts import Place

log = structlog.get_logger(__name__)

EARLY = timedelta(hours=1)
"""Before its end a login is renewed: Amazon's are good for twelve hours."""
AGAIN = timedelta(seconds=30)
"""Between two renewals of one login that is refused."""
PATIENCE = timedelta(minutes=3)
"""Before whoever gives no login is asked again: runs wait for the answer, also those without it."""


class _Held:
    def __init__(self, account: Account, given: Pass, at: datetime) -> None:
        self.account = account
        self.given = given
        self.at = at


class LiveLogins(MendingLogins):
    """Logins by host, of the places that `use` was told of last. Threads may share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._held: dict[str, _Held] = {}
        self._faults: dict[str, tuple[str, datetime, Account]] = {}
        self._lock = threading.Lock()
        self._entering = threading.Lock()

    def use(self, places: Mapping[str, Place]) -> None:
        """Hold logins for these places, and drop those of others. Blocking: it may ask AWS."""
        with self._lock:
            self._places = dict(places)
            for host in set(self._held) - set(places):
                del self._held[host]
        for host in places:
            self.enter(host)

    def enter(self, host: str, *, anew: bool = False) -> Login | None:
        """The login for a host, fetched where there is none that is good for a while. Blocking.

        Args:
            host: Of the registry.
            anew: Fetch another one, unless that was just done; None says that it was.

        Raises nothing: what went wrong is `fault(host)`.
        """
        place = self._places.get(host)
        if place is None:
            return None
        with self._entering:
            held = self._held.get(host)
            if held is not None and held.account == place.account:
                if anew and (held.given.until is None or self._clock() - held.at < AGAIN):
                    return None
                if not anew and not self._ends_soon(held):
                    return held.given.login
            if not anew and self._refused_lately(host, place.account):
                return None if held is None else held.given.login
            return self._fetch(host, place)

    def _refused_lately(self, host: str, account: Account) -> bool:
        _, at, whose = self._faults.get(host, ("", self._clock() - PATIENCE, account))
        return whose == account and self._clock() - at < PATIENCE

    def _ends_soon(self, held: _Held) -> bool:
        return held.given.until is not None and held.given.until - self._clock() <= EARLY

    def _fetch(self, host: str, place: Place) -> Login | None:
        try:
            given = self._kind(place).enter(place.account)
        except KindError as error:
            log.warning("no login for a registry", host=host, why=str(error))
            self._faults[host] = str(error), self._clock(), place.account
            held = self._held.get(host)  # the old one may be good for a while yet
            return None if held is None else held.given.login
        with self._lock:
            self._faults.pop(host, None)
            self._held[host] = _Held(place.account, given, self._clock())
        return given.login

    def fault(self, host: str) -> str | None:
        """Why there is no login for a host that should have one."""
        fault = self._faults.get(host)
        return None if fault is None else fault[0]

    def mend(self, repository: str, refusal: Refusal) -> bool:
        """See `MendingLogins.mend`."""
        named = Repository.parse(repository)
        place = self._places.get(named.host)
        if place is None:
            return False
        if refusal is Refusal.DENIED:
            return self.enter(named.host, anew=True) is not None
        if refusal is Refusal.NOT_FOUND and place.account.create:
            return self._kind(place).make(place.account, named.path)
        return False

    @staticmethod
    def _kind(place: Place) -> Kind:
        # Somebody may have taken the kind's module away since the row was written.
        return kinds().get(place.kind, GENERIC)

    def __getitem__(self, host: str) -> Login:
        """The login for a host; never waits for anybody."""
        with self._lock:
            return self._held[host].given.login

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._held))

    def __len__(self) -> int:
        return len(self._held)
