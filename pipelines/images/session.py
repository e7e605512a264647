"""What pull, build and push of one step share: engine, logins, output, the wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from docker.errors import APIError

from pipelines.engine.client import ENGINE_ERRORS, Engine, reason, unavailable
from pipelines.engine.interruption import Interruption, Watchdog
from pipelines.executor import OWN, Output
from pipelines.images.names import DOCKER_HUB, registry_of
from pipelines.images.retries import Backoff
from pipelines.registries.kinds import KindError
from pipelines.registries.logins import Login, Logins
from pipelines.registries.mending import MendingLogins
from pipelines.registries.refusals import Refusal, RegistryError

T = TypeVar("T")

_MENDED = (Refusal.DENIED, Refusal.NOT_FOUND)


@dataclass(frozen=True, kw_only=True)
class ImageSession:
    """One step's dealings with images; lives as long as the step."""

    engine: Engine
    logins: Logins
    output: Output
    interruption: Interruption
    watchdog: Watchdog
    backoff: Backoff = field(default_factory=Backoff)

    def say(self, line: str) -> None:
        """A line of our own in the step's output."""
        self.output.write(OWN, line.encode() + b"\n")

    def login(self, image: str) -> tuple[str, Login | None]:
        """The registry of an image or repository, and the login for it."""
        host = registry_of(image)
        aliases = (host, "index.docker.io", "https://index.docker.io/v1/")
        names = aliases if host == DOCKER_HUB else (host,)
        return host, next((self.logins[name] for name in names if name in self.logins), None)

    async def mended(self, repository: str, error: RegistryError) -> bool:
        """Whether a login was renewed, or a repository made, so that another try may go well.

        Raises:
            StoppedError: The step was asked to stop.
        """
        logins = self.logins
        if not isinstance(logins, MendingLogins) or error.refusal not in _MENDED:
            return False
        try:
            mended = await self.ask(partial(logins.mend, repository, error.refusal))
        except KindError as trouble:
            self.say(str(trouble))
            return False
        if mended:
            self.say(f"{error}; that was mended, so it is tried once more")
        return mended

    async def ask(self, question: Callable[[], T]) -> T:
        """The answer to a blocking question to somebody else than the engine.

        Raises:
            StoppedError: The step was asked to stop.
        """
        answer = self.engine.background(question)
        return await self.interruption.unless_requested(answer)

    async def stream(self, read: Callable[[], list[str]]) -> list[str]:
        """Run a thread that reads one of the engine's answers; what it returns are refusals.

        Raises:
            StoppedError: The step was asked to stop.
            ExecutorUnavailableError: The engine is gone.
        """
        try:
            refused = await self.watchdog.watch(self.engine.background(read), self.interruption)
        except ENGINE_ERRORS as error:
            self.interruption.check()
            if isinstance(error, APIError):
                return [reason(error)]
            raise unavailable(self.engine.url, error) from error
        self.interruption.check()
        return refused
