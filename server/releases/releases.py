"""Moving channels: checked, written down before and after, one mover at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from pipelines.crashing import reach
from pipelines.references import is_write_once
from pipelines.registries import tags
from pipelines.registries.refusals import RegistryError
from pipelines.values import Value
from server.actions import AwayError, ConflictError, NotFoundError
from server.clock import Clock
from server.registries import Registries
from server.releases.choosing import (
    Version,
    checked_channel,
    chosen,
    earlier,
    image_named,
)
from server.releases.moving import GoneError, Looked, Pool, look
from server.store import Database
from server.store import channels as verbs
from server.store import images as image_verbs
from server.store.channels import ChannelRow, MoveKind, MoveRow, NewMove

log = structlog.get_logger(__name__)

OVERDUE = timedelta(minutes=10)
"""After which a move whose end nobody wrote was cut off: its questions have shorter time limits."""
VERSIONS = 100
"""Versions of which a text may be meant that are looked at; more would be no help to anybody."""
HISTORY = 200
"""Newest moves of a channel by which a rollback finds its way."""


class Look(Value):
    """What a move would change, for whoever is asked to confirm it."""

    image: str
    channel: str
    version: Version
    now: str | None
    """The digest that the channel leads to by our records; None: to nothing."""
    paused: bool
    fault: str | None
    """Why it cannot be done; None: it can."""
    parts: int
    """Manifests and blobs that were seen in the registry."""


class Releases:
    """Image versions and the channels that lead to them."""

    def __init__(self, *, database: Database, registries: Registries, clock: Clock) -> None:
        self._database = database
        self._registries = registries
        self._clock = clock
        self._pool = Pool()

    def close(self) -> None:
        """End the threads."""
        self._pool.close()

    async def image(self, wanted: str) -> str:
        """The image that somebody means, by its whole name or the end of one.

        Raises:
            NotFoundError: No version of such an image was pushed.
            InputsError: Several are called so.
        """
        return image_named(await self._database.read(verbs.images), wanted)

    async def version(self, image: str, wanted: str) -> Version:
        """The version of an image that somebody means: by digest, tag or commit.

        Raises:
            NotFoundError: None is meant.
            InputsError: Several are.
        """
        rows = await self._database.read(image_verbs.versions_like, image, wanted, limit=VERSIONS)
        return chosen(image, rows, wanted)

    async def before(self, image: str, channel: str) -> Version:
        """The version that a rollback of a channel goes to when nobody says where.

        Raises:
            NotFoundError: There is no such channel.
            ConflictError: It points where it has always pointed.
        """
        await self._channel(image, channel)
        moves = await self._database.read(verbs.moves, image=image, name=channel, limit=HISTORY)
        digest = earlier(moves)
        if digest is None:
            raise ConflictError(
                f"{channel} of {image} has never pointed anywhere else: name a version with `--to`"
            )
        return await self.version(image, digest)

    async def promote(
        self, image: str, channel: str, wanted: str, *, by: str, why: str = ""
    ) -> MoveRow:
        """Have a channel lead to a version, because somebody says so; see `move`."""
        image = await self.image(image)
        version = await self.version(image, wanted)
        return await self.move(
            image=image, channel=channel, to=version, by=by, why=why, kind=MoveKind.PROMOTE
        )

    async def rollback(
        self, image: str, channel: str, *, by: str, to: str | None = None, why: str = ""
    ) -> MoveRow:
        """Have a channel lead to an earlier version, and keep runs from moving it; see `move`.

        Args:
            image: Whose channel it is.
            channel: Its name.
            by: Who asks.
            to: The version; None: the one before.
            why: For the records.
        """
        image = await self.image(image)
        await self._channel(image, channel)
        version = await self.before(image, channel) if to is None else await self.version(image, to)
        return await self.move(
            image=image, channel=channel, to=version, by=by, why=why, kind=MoveKind.ROLLBACK
        )

    async def move(
        self,
        *,
        image: str,
        channel: str,
        to: Version,
        by: str,
        kind: MoveKind,
        why: str = "",
        run: int | None = None,
    ) -> MoveRow:
        """Have a channel lead to a version by its digest; nothing is built and no blob moved.

        A deploy step calls it with `kind=MoveKind.DEPLOY` and its run: then a paused channel is
        left alone. The record is on disk before the registry is asked, and ended after.

        Returns:
            The move as it stands in the records.

        Raises:
            InputsError: No channel can be called so.
            ConflictError: The version is not there or not whole, the channel is paused or being
                moved, or the registry refuses.
            AwayError: The registry does not answer.
        """
        checked_channel(channel)
        if kind is MoveKind.DEPLOY:
            await self.refuse_paused(image, channel)
        client = await self._registries.client(image)
        known = await self._database.read(verbs.known_contents, to.digest)
        new = NewMove(
            image=image, channel=channel, kind=kind, digest=to.digest, run=run, by=by, why=why
        )
        move = await self._begun(new)
        reach("releases.begun")

        def work() -> Looked:
            found = look(client, self._pool, to.digest, channel, known)
            tags.put(client, found.fetched, channel)
            return found

        try:
            found = await asyncio.to_thread(work)
        except (GoneError, RegistryError) as error:
            await self._database.write_patiently(
                verbs.fail_move, move, str(error), at=self._clock()
            )
            away = isinstance(error, RegistryError) and error.worth_retrying
            raise (AwayError if away else ConflictError)(str(error)) from error
        reach("releases.put")
        ended = await self._database.write_patiently(
            verbs.end_move,
            move,
            from_digest=found.before,
            pause=kind is MoveKind.ROLLBACK,
            parts=found.parts,
            at=self._clock(),
        )
        await self._registries.saw(client)
        log.info("channel moved", image=image, channel=channel, to=to.digest, kind=kind, by=by)
        return ended

    async def look(self, image: str, channel: str, to: Version) -> Look:
        """What a move would change, and whether it can be made now; nothing is changed.

        Raises:
            InputsError: No channel can be called so.
            AwayError: The registry does not answer.
        """
        checked_channel(channel)
        row = await self._database.read(verbs.channel, image, channel)
        client = await self._registries.client(image)
        known = await self._database.read(verbs.known_contents, to.digest)
        fault, parts = None, 0
        try:
            found = await asyncio.to_thread(look, client, self._pool, to.digest, channel, known)
        except GoneError as error:
            fault = str(error)
        except RegistryError as error:
            raise (AwayError if error.worth_retrying else ConflictError)(str(error)) from error
        else:
            parts = 1 + len(found.parts)
            await self._database.write(
                verbs.remember_contents, to.digest, found.parts, at=self._clock()
            )
        return Look(
            image=image,
            channel=channel,
            version=to,
            now=None if row is None else row.digest,
            paused=row is not None and row.paused_at is not None,
            fault=fault,
            parts=parts,
        )

    async def resume(self, image: str, channel: str, *, by: str) -> ChannelRow:
        """Let runs move a channel again.

        Raises:
            NotFoundError: There is no such channel.
            ConflictError: They may already.
        """
        image = await self.image(image)
        await self._channel(image, channel)
        if not await self._database.write(verbs.resume, image, channel):
            raise ConflictError(f"{channel} of {image} is not paused: runs may move it")
        log.info("channel resumed", image=image, channel=channel, by=by)
        return await self._channel(image, channel)

    async def held(self, image: str, tags: Sequence[str]) -> dict[str, str]:
        """Of an image's tags, those that a run may not push now, each with the reason.

        A channel that was rolled back stays where it is; a commit's or a version's tag stays with
        what was pushed under it first.
        """
        read = self._database.read
        paused = await read(verbs.paused_channels, image)
        written = await read(
            image_verbs.written, image, [tag for tag in tags if is_write_once(tag)]
        )
        found = {
            tag: f"{tag} of {image} leads to {digest} and is written once: it is not pushed again"
            for tag, digest in written.items()
        }
        for tag in tags:
            if tag in paused:
                found[tag] = (
                    f"{tag} of {image} stays where it was rolled back to: `lading channel resume "
                    f"{image} {tag}` lets runs move it again"
                )
        return found

    async def settle(self) -> None:
        """End the records of moves that were cut off, by what the registry has."""
        for move in await self._database.read(verbs.begun_before, self._clock() - OVERDUE):
            await self._settle(move)

    async def _settle(self, move: MoveRow) -> None:
        """As the registry has it; one that does not answer is asked again later."""
        try:
            client = await self._registries.client(move.image)
            now = await asyncio.to_thread(tags.digest_of, client, move.channel)
        except (RegistryError, AwayError) as error:
            log.warning("a move that was cut off stays open", move=move.id, why=str(error))
            return
        if now == move.digest:
            await self._database.write(
                verbs.end_move,
                move,
                from_digest=move.from_digest,
                pause=move.kind is MoveKind.ROLLBACK,
                parts=(),
                at=self._clock(),
            )
            return
        message = "Lading ended in the middle; the registry still has what it had"
        await self._database.write(verbs.fail_move, move, message, at=self._clock())

    async def _begun(self, new: NewMove) -> MoveRow:
        move = await self._database.write(verbs.begin_move, new, at=self._clock())
        if move is not None:
            return move
        other = await self._database.read(verbs.under_way, new.image, new.channel)
        if other is not None and (_cut_off(other, new) or other.at < self._clock() - OVERDUE):
            await self._settle(other)
            move = await self._database.write(verbs.begin_move, new, at=self._clock())
            if move is not None:
                return move
        since = f" since {other.at:%H:%M:%S} UTC, by {other.by}" if other is not None else ""
        raise ConflictError(
            f"{new.channel} of {new.image} is being moved{since}: look where it points then, and "
            "try again"
        )

    async def refuse_paused(self, image: str, channel: str) -> None:
        """Nothing where runs may move a channel.

        Raises:
            ConflictError: It was rolled back, and nobody has let runs move it since.
        """
        row = await self._database.read(verbs.channel, image, channel)
        if row is not None and row.paused_at is not None:
            raise ConflictError(
                f"{channel} of {image} was rolled back by {row.paused_by} on "
                f"{row.paused_at:%Y-%m-%d %H:%M} UTC, so runs may not move it: `lading channel "
                f"resume {image} {channel}` lets them"
            )

    async def _channel(self, image: str, channel: str) -> ChannelRow:
        row = await self._database.read(verbs.channel, image, channel)
        if row is None:
            raise NotFoundError(
                f"{image} has no channel {channel[:130]!r}: `lading channels {image}` lists them, "
                "and `lading promote` makes one"
            )
        return row


def _cut_off(other: MoveRow, new: NewMove) -> bool:
    """Whether nobody is at a move any more: a step is done once at a time, so it is taken up."""
    deploys = other.kind is MoveKind.DEPLOY and new.kind is MoveKind.DEPLOY
    return deploys and (other.run, other.why) == (new.run, new.why)
