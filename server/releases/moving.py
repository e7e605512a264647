"""One move of a tag in a registry: what is asked, in which order. Blocking.

First, all at once: the manifest by its digest, where the tag leads now, and whether each part that
is known is there. Then the manifest goes under the tag. So it is two round trips, whatever the size
of the image; of one that nobody has looked at yet, a third in between asks for its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipelines.problems import LadingError
from pipelines.registries import tags
from pipelines.registries.client import RegistryClient
from pipelines.registries.contents import Part
from pipelines.values import Value


class GoneError(LadingError):
    """Something of a version is not in the registry any more; the message names it."""


class Looked(Value):
    """What was found of a version that is whole."""

    fetched: tags.Fetched
    parts: tuple[Part, ...]
    """Everything it is made of."""
    before: str | None
    """The digest under the tag; None: nothing was."""


class Pool:
    """Threads for the questions of moves; made when the first one is, and kept."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    def threads(self) -> ThreadPoolExecutor:
        """The threads."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(tags.AT_ONCE, thread_name_prefix="moving")
        return self._threads

    def close(self) -> None:
        """End them."""
        if self._threads is not None:
            self._threads.shutdown()


def look(
    client: RegistryClient, pool: Pool, digest: str, tag: str, known: Sequence[Part]
) -> Looked:
    """See that a version is there and whole.

    Args:
        client: Of its repository.
        pool: For questions at the same time.
        digest: Of the version.
        tag: Which shall lead there; where it leads now is asked, too.
        known: What the version is known to be made of; empty where nobody has looked yet.

    Raises:
        GoneError: The manifest or a part is not there.
        RegistryError: The registry cannot be reached, or does not say.
    """
    threads = pool.threads()
    manifest = threads.submit(tags.fetch, client, digest)
    before = threads.submit(tags.digest_of, client, tag)
    there = [(part, threads.submit(tags.is_there, client, part)) for part in known]
    fetched = manifest.result()
    image = client.repository
    if fetched is None:
        raise GoneError(
            f"the manifest {digest} is not in {image} any more: that version cannot be deployed; "
            "run its commit again to make it anew"
        )
    parts: Sequence[Part] = known
    gone = [part for part, found in there if not found.result()]
    if not known:
        parts, gone = tags.contents(client, fetched)
        gone = gone or [
            part
            for part, found in zip(
                parts, threads.map(lambda part: tags.is_there(client, part), parts), strict=True
            )
            if not found
        ]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise GoneError(
            f"{gone[0]}{more} of {image}@{digest} is not in the registry any more: that version "
            "cannot be pulled; run its commit again to make it anew"
        )
    return Looked(fetched=fetched, parts=tuple(parts), before=before.result())
