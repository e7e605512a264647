"""Approving and declining what runs wait for, on the database itself."""

from __future__ import annotations

import getpass
from collections.abc import Iterator

from server import clock
from server.cli.settings import UsageError
from server.cli.tokens import opened
from server.config import Settings
from server.store import approvals as approval_verbs
from server.store.approvals import Answered, NothingToApproveError
from server.store.rows import Verdict


def say(settings: Settings, run: int, verdict: Verdict, *, step: str | None) -> Iterator[str]:
    """Answer what a run waits for; yields what to tell.

    Raises:
        UsageError: It waits for no such answer.
    """
    with opened(settings) as database:
        try:
            answered: list[Answered] = database.run(
                approval_verbs.answer,
                run,
                verdict=verdict,
                by=f"{_user()} at the command line",
                at=clock.now(),
                url=lambda number: f"{_url(settings)}/runs/{number}",
                step=step,
            )
        except NothingToApproveError as error:
            raise UsageError(str(error)) from error
    for one in answered:
        told = ", ".join(one.answers) or "its commit"
        yield f"Run {one.run}: {told} {verdict}. A server that runs goes on within seconds."


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return "somebody"


def _url(settings: Settings) -> str:
    server = settings.server
    shown = f"[{server.address}]" if ":" in server.address else server.address
    return (server.url or f"http://{shown}:{server.port}").rstrip("/")
