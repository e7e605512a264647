"""Built images into registries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from docker.errors import APIError

from pipelines.crashing import reach
from pipelines.images.pull import tell_progress
from pipelines.images.refusals import explain
from pipelines.images.retries import again
from pipelines.images.session import ImageSession
from pipelines.plan import PushWork
from pipelines.progress import Pushed
from pipelines.registries.refusals import Refusal, RegistryError

_WORTH_A_LINE = frozenset({"Pushed", "Layer already exists"})


async def push_image(session: ImageSession, work: PushWork, image_id: str) -> Pushed:
    """Push the image under each tag; the digest is what the push itself told.

    Raises:
        RegistryError: It was refused, or two tags got different digests.
        ExecutorUnavailableError: The engine is gone.
        StoppedError: The step was asked to stop.
    """
    manifests = [await _push_tag(session, work.repository, tag, image_id) for tag in work.tags]
    digests = {str(manifest["Digest"]) for manifest in manifests}
    if len(digests) != 1:
        raise RegistryError(
            Refusal.OTHER,
            f"push to {work.repository} gave its tags different digests "
            f"({', '.join(sorted(digests)) or 'none'}): somebody else may write there; run again",
        )
    digest = digests.pop()
    # The engine remembers where it pushed to; as long as it does, the image counts as in use.
    with contextlib.suppress(APIError):
        await session.engine.call(
            session.engine.client.remove_image, f"{work.repository}@{digest}", noprune=True
        )
    return Pushed(
        repository=work.repository,
        digest=digest,
        size=int(manifests[0]["Size"]),
        tags=work.tags,
    )


async def _push_tag(
    session: ImageSession, repository: str, tag: str, image_id: str
) -> dict[str, Any]:
    session.interruption.check()
    session.say(f"Pushing {repository}:{tag}")
    return await again(
        lambda: _push_named(session, repository, tag, image_id),
        backoff=session.backoff,
        say=session.say,
        sleep=session.interruption.sleep,
        endless=True,
    )


async def _push_named(
    session: ImageSession, repository: str, tag: str, image_id: str
) -> dict[str, Any]:
    """One try, with the name on the engine that a push goes by."""
    engine = session.engine
    name = f"{repository}:{tag}"
    async with engine.reference(name):
        session.interruption.check()
        await engine.call(engine.client.tag, image_id, repository, tag, force=True)
        try:
            return await _push(session, repository, tag)
        finally:
            # The name was only for the push. Others keep the image itself on the engine.
            with contextlib.suppress(APIError):
                await engine.call(engine.client.remove_image, name, noprune=True)


async def _push(session: ImageSession, repository: str, tag: str) -> dict[str, Any]:
    host, login = session.login(repository)
    manifests: list[dict[str, Any]] = []

    def read() -> list[str]:
        client = session.engine.streams
        entries = client.push(
            repository,
            tag=tag,
            stream=True,
            decode=True,
            auth_config=login.auth_config if login else {},
        )
        with session.interruption.reading(client.opened()):
            return tell_progress(session.say, _kept(entries, manifests), _WORTH_A_LINE)

    what = f"push of {repository}:{tag}"
    if refused := await session.stream(read):
        error = explain(what, host, login, refused[0])
        if await session.mended(repository, error):
            return await _push(session, repository, tag)
        raise error
    if not manifests:
        # An engine that is killed in the middle ends the stream without a word.
        raise explain(what, host, None, "the stream ended before the digest: unexpected EOF")
    return manifests[0]


def _kept(
    entries: Iterable[dict[str, Any]], manifests: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The entries, with the manifest's digest put aside where it comes along."""
    for entry in entries:
        reach("push.output")
        aux = entry.get("aux")
        if isinstance(aux, dict) and "Digest" in aux:
            manifests.append(aux)
        yield entry
