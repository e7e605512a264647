"""A double for Docker Hub's rate limit alone: https://docs.docker.com/docker-hub/usage/pulls/."""

from __future__ import annotations

import hashlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MANIFEST = b'{"schemaVersion": 2}'


class RateLimited:
    """Counts each GET of a manifest, and no HEAD."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self.app = Starlette(
            routes=[
                Route("/v2/", lambda _: Response()),
                Route("/v2/{path:path}", self._manifest, methods=["GET", "HEAD"]),
            ]
        )

    async def _manifest(self, request: Request) -> Response:
        if request.method == "GET":
            self._used += 1
        told = {
            "RateLimit-Limit": f"{self._limit};w=21600",
            "RateLimit-Remaining": f"{max(self._limit - self._used, 0)};w=21600",
            "Docker-RateLimit-Source": "192.0.2.1",
        }
        if self._used > self._limit:
            return Response(status_code=429, headers={"Retry-After": "60", **told})
        digest = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
        kind = "application/vnd.oci.image.manifest.v1+json"
        return Response(
            MANIFEST, headers={"Docker-Content-Digest": digest, **told}, media_type=kind
        )
