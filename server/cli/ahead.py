"""What is needed in a moment, begun while something else is waited for.

git is asked a dozen questions one after the other, some milliseconds each, in which this process
has nothing to do; and pydantic builds what checks a model at its first use, which takes as long.
"""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime

from pipelines.checkout import Checkout
from pipelines.events import Event, EventKind
from pipelines.explaining import explain
from pipelines.problems import LadingError
from server.cli.explain import DEFAULTS

_SMALLEST = b"test: {x: {image: x, commands: x}}"


def ask_git(checkout: Checkout) -> None:
    """Have a checkout learn what it will be asked for; it keeps the answers."""

    def ask() -> None:
        # Whoever needs the answer asks again, and is told what is wrong.
        with contextlib.suppress(LadingError):
            _ = (checkout.head, checkout.branch, checkout.remote, checkout.default_branch)

    threading.Thread(target=ask, name="lading-git", daemon=True).start()


def build_models() -> None:
    """Use once what reads, decides and plans a pipeline. Not beside anybody else who does."""
    event = Event(kind=EventKind.PUSH, repository="x", sha="0" * 40, ref="refs/heads/x", branch="x")
    explain(
        {".lading.yml": _SMALLEST},
        {},
        event,
        changed=None,
        committed_at=datetime.now(UTC),
        defaults=DEFAULTS,
    )
