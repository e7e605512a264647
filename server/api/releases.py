"""Channels, promotion and rollback over the API."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from server.api.answers import json_answer, page
from server.api.models import Answer, Limit, Page, Query, RowId
from server.api.routing import Api, Asked, Endpoint
from server.api.views import Links
from server.store import channels as verbs
from server.store.channels import ChannelRow, MoveKind, MoveRow, MoveState

_BODY = ConfigDict(frozen=True, extra="forbid", defer_build=True)
Image = Annotated[
    str, Field(max_length=255, description="`ghcr.io/acme/web`, or an end that only one has.")
]
ChannelName = Annotated[str, Field(max_length=128, description="A moving tag: `production`.")]
Wanted = Annotated[str, Field(max_length=200, description="A digest, a tag or a commit.")]
Why = Annotated[str, Field(max_length=1000, description="For the records.")]


class Channel(Answer):
    """A moving tag of an image, and where it leads."""

    image: str
    name: str
    digest: str
    moved_at: AwareDatetime
    paused_at: AwareDatetime | None = Field(
        description="Since when runs may not move it; null: they may."
    )
    paused_by: str | None


class Move(Answer):
    """One move of a channel; every one stays in the records."""

    id: int
    image: str
    channel: str
    kind: MoveKind
    from_digest: str | None = Field(description="Where it led before; null: nowhere.")
    digest: str = Field(description="Where to.")
    run: str | None = Field(description="The run that asked, or that pushed it.")
    by: str
    why: str
    state: MoveState
    error: str | None = Field(description="Why it stayed where it was.")
    at: AwareDatetime
    ended_at: AwareDatetime | None


class NewPromotion(BaseModel):
    """Which version a channel shall lead to."""

    model_config = _BODY

    image: Image
    channel: ChannelName
    version: Wanted
    why: Why = ""


class NewRollback(BaseModel):
    """Which channel shall go back."""

    model_config = _BODY

    image: Image
    channel: ChannelName
    to: Wanted | None = Field(None, description="Where to; null: to the version before.")
    why: Why = ""


class Resumed(BaseModel):
    """Which channel runs may move again."""

    model_config = _BODY

    image: Image
    channel: ChannelName


class ChannelsQuery(Query):
    """Which channels."""

    image: str | None = Field(None, max_length=255, description="Only of this image.")


class MovesQuery(Query):
    """Which moves."""

    image: str | None = Field(None, max_length=255, description="Only of this image.")
    channel: str | None = Field(None, max_length=128, description="Only of channels of this name.")
    before: RowId | None = Field(None, description="Only older ones than this id.")
    limit: Limit = 50


async def list_channels(api: Api, asked: Asked) -> Response:
    """Channels, by image and name."""
    image = asked.query_as(ChannelsQuery).image
    rows = await api.database.read(verbs.all_channels, image=image)
    return json_answer(Page[Channel](items=[_channel(row) for row in rows], next=None))


async def list_moves(api: Api, asked: Asked) -> Response:
    """Moves, newest first."""
    query = asked.query_as(MovesQuery)
    rows = await api.database.read(
        verbs.moves,
        image=query.image,
        name=query.channel,
        before=query.before,
        limit=query.limit + 1,
    )
    shown, link = page(api, asked, rows, query.limit)
    items = [_move(api.links, row) for row in shown]
    return json_answer(Page[Move](items=items, next=link), link=link)


async def promote(api: Api, asked: Asked) -> Response:
    """Have a channel lead to a version."""
    new = asked.body_as(NewPromotion)
    row = await api.releases.promote(new.image, new.channel, new.version, by=asked.by, why=new.why)
    return json_answer(_move(api.links, row), status=201)


async def roll_back(api: Api, asked: Asked) -> Response:
    """Have a channel lead to an earlier version."""
    new = asked.body_as(NewRollback)
    row = await api.releases.rollback(new.image, new.channel, to=new.to, by=asked.by, why=new.why)
    return json_answer(_move(api.links, row), status=201)


async def resume(api: Api, asked: Asked) -> Response:
    """Let runs move a channel again."""
    new = asked.body_as(Resumed)
    return json_answer(_channel(await api.releases.resume(new.image, new.channel, by=asked.by)))


def _channel(row: ChannelRow) -> Channel:
    return Channel(**row.model_dump(exclude={"id"}))


def _move(links: Links, row: MoveRow) -> Move:
    run = None if row.run is None else links.run(row.run)
    return Move(**{**row.model_dump(), "run": run})


_ERRORS = (404, 409, 422)
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/channels",
        name="listChannels",
        summary="Channels and where they lead, by image and name",
        handler=list_channels,
        query=ChannelsQuery,
        answer=Page[Channel],
    ),
    Endpoint(
        method="GET",
        path="/moves",
        name="listMoves",
        summary="Moves of channels with who, why, from and to, newest first",
        handler=list_moves,
        query=MovesQuery,
        answer=Page[Move],
    ),
    Endpoint(
        method="POST",
        path="/promotions",
        name="promote",
        summary="Have a channel lead to a version, by its digest; nothing is built",
        handler=promote,
        body=NewPromotion,
        answer=Move,
        status=201,
        errors=_ERRORS,
    ),
    Endpoint(
        method="POST",
        path="/rollbacks",
        name="rollBack",
        summary="Have a channel lead to an earlier version, and keep runs from moving it",
        handler=roll_back,
        body=NewRollback,
        answer=Move,
        status=201,
        errors=_ERRORS,
    ),
    Endpoint(
        method="POST",
        path="/channels/resume",
        name="resumeChannel",
        summary="Let runs move a channel again that was rolled back",
        handler=resume,
        body=Resumed,
        answer=Channel,
        errors=_ERRORS,
    ),
)
