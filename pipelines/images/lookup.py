"""What came of a push that was cut off: the registry knows, so it is asked before anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

from docker.errors import APIError

from pipelines.images.registry import registry_client
from pipelines.images.retries import again
from pipelines.images.session import ImageSession
from pipelines.plan import PushWork
from pipelines.progress import Built, Outcome, Pushed, State
from pipelines.registries.manifests import Manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import RegistryError

_UNKNOWN = "unknown: Lading was restarted in the middle"


async def look_up(session: ImageSession, work: PushWork, built: Built) -> Outcome | None:
    """How a push ended that nobody saw the end of; None: it did not, and may be repeated.

    Raises:
        RegistryError: The registry does not say, and the push must not be repeated.
        ExecutorUnavailableError: The engine is gone.
        StoppedError: The step was asked to stop.
    """
    session.say(f"Lading was restarted in the middle of this push: asking for {work.repository}")
    await _forget_names(session, work, built.image_id)
    try:
        found = await _found(session, work)
    except RegistryError as error:
        if work.retry_safe and not error.worth_retrying:
            session.say(str(error))
            return None
        raise RegistryError(error.refusal, f"{_UNKNOWN}; {error}") from error
    outcome = judge(work, found, built)
    if outcome.state is not State.SUCCESS and work.retry_safe:
        session.say(outcome.message)
        return None
    return outcome


def judge(work: PushWork, found: Mapping[str, Manifest | None], built: Built) -> Outcome:
    """The outcome of a push by what the registry has under each of its tags."""
    image, lock = built.image_id, None
    if built.exact is not None:
        image, lock = built.exact.digest, built.exact.lock
    ours = {tag: each for tag, each in found.items() if each and each.is_of(image)}
    digests = {each.digest: each.size for each in ours.values()}
    if len(ours) == len(work.tags) and len(digests) == 1:
        ((digest, size),) = digests.items()
        pushed = Pushed(
            repository=work.repository, digest=digest, size=size, tags=work.tags, lock=lock
        )
        return Outcome(state=State.SUCCESS, pushed=pushed)
    others = [tag for tag in work.tags if found[tag] is not None and tag not in ours]
    nothing = [tag for tag in work.tags if found[tag] is None]
    there = (("this image", list(ours)), ("another image", others), ("nothing", nothing))
    told = ", ".join(f"{what} as {_listed(tags)}" for what, tags in there if tags)
    message = (
        f"{_UNKNOWN}; {work.repository} has {told}. Re-run what failed to push again; with "
        "`retry: safe` in the pipeline Lading does so by itself"
    )
    return Outcome(state=State.ERROR, message=message)


def _listed(tags: list[str]) -> str:
    return tags[0] if len(tags) == 1 else f"{', '.join(tags[:-1])} and {tags[-1]}"


async def _found(session: ImageSession, work: PushWork) -> dict[str, Manifest | None]:
    async with registry_client(session, Repository.parse(work.repository)) as client:
        return {
            tag: await again(
                partial(session.ask, partial(client.resolve, tag)),
                backoff=session.backoff,
                say=session.say,
                sleep=session.interruption.sleep,
                endless=True,
            )
            for tag in work.tags
        }


async def _forget_names(session: ImageSession, work: PushWork, image_id: str) -> None:
    """Take away the names that the engine got for the push and whoever began it could not."""
    engine = session.engine
    for tag in work.tags:
        name = f"{work.repository}:{tag}"
        async with engine.reference(name):
            with contextlib.suppress(APIError):
                named = await engine.call(engine.client.inspect_image, name)
                if named["Id"] == image_id:
                    await engine.call(engine.client.remove_image, name, noprune=True)
