"""Static files under addresses that change with their content: browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.values import Value

FOLDER = Path(__file__).parent / "static"


class Asset(Value):
    """One static file."""

    name: str
    content: bytes
    media_type: str

    @property
    def address(self) -> str:
        """`/static/<hash>/<name>`."""
        return f"/static/{hashlib.sha256(self.content).hexdigest()[:16]}/{self.name}"


class Assets:
    """Every static file, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        assets = [_asset(path) for path in sorted(folder.iterdir()) if path.is_file()]
        self._by_address: Mapping[str, Asset] = {asset.address: asset for asset in assets}
        self._addresses = {asset.name: asset.address for asset in assets}

    def address(self, name: str) -> str:
        """Where a file is served.

        Raises:
            KeyError: There is none of that name.
        """
        return self._addresses[name]

    def route(self) -> Route:
        """Serves the files; they hold nothing that needs a token."""
        return Route("/static/{path:path}", self._serve, methods=["GET"])

    async def _serve(self, request: Request) -> Response:
        asset = self._by_address.get(request.url.path)
        headers = {"X-Content-Type-Options": "nosniff"}
        if asset is None:
            return Response("there is no such file\n", 404, headers, "text/plain")
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return Response(asset.content, 200, headers, asset.media_type)


def _asset(path: Path) -> Asset:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(name=path.name, content=path.read_bytes(), media_type=kind)
