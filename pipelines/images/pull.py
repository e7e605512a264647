"""Images from registries onto the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from docker.errors import NotFound

from pipelines.engine.client import Engine
from pipelines.images.names import split
from pipelines.images.refusals import explain
from pipelines.images.retries import again
from pipelines.images.session import ImageSession

# One line for a layer when it is there, instead of one for each tick of its progress.
_WORTH_A_LINE = frozenset({"Pull complete", "Already exists"})


async def local_image(engine: Engine, name: str) -> str | None:
    """The id of the image if the engine has it."""
    try:
        found = await engine.call(engine.client.inspect_image, name)
    except NotFound:
        return None
    return str(found["Id"])


async def ensure_image(session: ImageSession, name: str) -> str:
    """The id of the image `name`, pulled with its registry's login if the engine has it not.

    Raises:
        RegistryError: It cannot be had.
        ExecutorUnavailableError: The engine is gone.
        StoppedError: The step was asked to stop.
    """
    present = await local_image(session.engine, name)
    if present is not None:
        return present
    session.say(f"Pulling {name}")
    await again(
        lambda: _pull(session, name),
        backoff=session.backoff,
        say=session.say,
        sleep=session.interruption.sleep,
    )
    pulled = await local_image(session.engine, name)
    if pulled is None:
        host, _ = session.login(name)
        raise explain(f"pull of {name}", host, None, "manifest unknown")
    return pulled


async def _pull(session: ImageSession, name: str) -> None:
    host, login = session.login(name)
    repository, tag = split(name)

    def read() -> list[str]:
        client = session.engine.streams
        entries = client.pull(
            repository,
            tag=tag,
            stream=True,
            decode=True,
            # An empty login, not none: the SDK would look for one in a person's home folder.
            auth_config=login.auth_config if login else {},
        )
        with session.interruption.reading(client.opened()):
            return tell_progress(session.say, entries, _WORTH_A_LINE)

    if refused := await session.stream(read):
        raise explain(f"pull of {name}", host, login, refused[0])


def tell_progress(
    say: Callable[[str], None], entries: Iterable[dict[str, Any]], worth: frozenset[str]
) -> list[str]:
    """Say what is worth a line; gives the errors that stood in the stream."""
    refused = []
    broken: set[object] = set()
    for entry in entries:
        status, layer = str(entry.get("status", "")), entry.get("id")
        if "error" in entry:
            refused.append(str(entry["error"]))
        elif status and (layer is None or status.startswith("Pulling from")):
            say(status)
        elif status in worth or status.startswith("Mounted from"):
            say(f"{layer}: {status}")
        elif status.startswith("Retrying in"):
            if layer not in broken:  # the engine counts the seconds down
                say(f"{layer}: broken off. {status}")
            broken.add(layer)
        else:
            broken.discard(layer)
    return refused
