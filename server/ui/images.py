"""Images: versions beside their commits, channels, and moving one with a page that asks first."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from pipelines.values import Value
from server.actions import InputsError, NotFoundError
from server.releases import Version
from server.store import channels as verbs
from server.store import images as image_verbs
from server.store.channels import ChannelRow, MoveKind
from server.store.rows import ImageVersionRow
from server.ui.origin import read_form
from server.ui.site import HEADERS, Site, Visit, positive

PAGE = 40
MOVES = 20
_MOST = 300
_KINDS = {"promote": MoveKind.PROMOTE, "rollback": MoveKind.ROLLBACK}


class Row(Value):
    """A version with the channels that lead to it."""

    version: ImageVersionRow
    channels: tuple[str, ...]


class ImagePages:
    """Pages about images and their channels."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        resource = self._site.resource
        return [
            resource("/images", get=self._list),
            resource("/images/move", get=self._ask, post=self._move),
            resource("/images/resume", post=self._resume),
        ]

    async def _list(self, visit: Visit) -> Response:
        image = visit.request.query_params.get("image", "")[:_MOST]
        if image:
            return await self._show(visit, image)
        read = self._site.database.read
        names = await read(verbs.images)
        channels = await read(verbs.all_channels)
        return self._site.page(
            "images.html",
            grant=visit.grant,
            images=[(name, [one for one in channels if one.image == name]) for name in names],
        )

    async def _show(self, visit: Visit, image: str) -> Response:
        read = self._site.database.read
        before = visit.request.query_params.get("before", "")
        rows = await read(
            image_verbs.image_versions_page, image=image, before=positive(before), limit=PAGE + 1
        )
        if not rows:
            raise NotFoundError(f"no version of {image[:200]!r} was pushed, or no older one")
        channels = await read(verbs.all_channels, image=image)
        shown = rows[:PAGE]
        older = {"image": image, "before": str(shown[-1].id)}
        return self._site.page(
            "image.html",
            grant=visit.grant,
            image=image,
            address=_address(image),
            versions=[_row(row, channels) for row in shown],
            channels=channels,
            moves=await read(verbs.moves, image=image, limit=MOVES),
            older=f"/images?{urlencode(older)}" if len(rows) > PAGE else "",
            newer=bool(before),
        )

    async def _ask(self, visit: Visit) -> Response:
        """What a move would change, with a button that makes it."""
        given = {name: value[:_MOST] for name, value in visit.request.query_params.items()}
        kind = _KINDS.get(given.get("kind", ""), MoveKind.PROMOTE)
        releases = self._site.releases
        image = await releases.image(given.get("image", ""))
        channel = given.get("channel", "").strip()
        version = await self._version(image, channel, given.get("to", "").strip(), kind)
        if not visit.grant.name:
            here = visit.request.url
            query = urlencode({"next": f"{here.path}?{here.query}"})
            return RedirectResponse(f"/login?{query}", 303, HEADERS)
        look = await releases.look(image, channel, version)
        rows = await self._site.database.read(
            image_verbs.image_versions_page, image=image, limit=PAGE * 5
        )
        return self._site.page(
            "move.html",
            grant=visit.grant,
            look=look,
            kind=kind,
            address=_address(image),
            before=next((row for row in rows if row.digest == look.now), None),
        )

    async def _version(self, image: str, channel: str, wanted: str, kind: MoveKind) -> Version:
        releases = self._site.releases
        if kind is MoveKind.ROLLBACK and not wanted:
            return await releases.before(image, channel)
        return await releases.version(image, wanted)

    async def _move(self, visit: Visit) -> Response:
        form = await read_form(visit.request)
        kind = _KINDS.get(form.get("kind", ""))
        image, channel, to = (form.get(name, "") for name in ("image", "channel", "to"))
        if kind is None or not (image and channel and to):
            raise InputsError("the form says not what to move where: open the image's page again")
        by, why = visit.grant.name or "somebody", form.get("why", "")[:1000]
        releases = self._site.releases
        if kind is MoveKind.ROLLBACK:
            row = await releases.rollback(image, channel, to=to, by=by, why=why)
        else:
            row = await releases.promote(image, channel, to, by=by, why=why)
        return RedirectResponse(_address(row.image), 303, HEADERS)

    async def _resume(self, visit: Visit) -> Response:
        form = await read_form(visit.request)
        row = await self._site.releases.resume(
            form.get("image", ""), form.get("channel", ""), by=visit.grant.name or "somebody"
        )
        return RedirectResponse(_address(row.image), 303, HEADERS)


def _address(image: str) -> str:
    return f"/images?{urlencode({'image': image})}"


def _row(version: ImageVersionRow, channels: Sequence[ChannelRow]) -> Row:
    leading = tuple(one.name for one in channels if one.digest == version.digest)
    return Row(version=version, channels=leading)
