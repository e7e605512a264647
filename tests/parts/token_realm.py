"""Whoever gives out tokens for a registry, which checks their signature and what they allow.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ISSUER, SERVICE = "realm of the tests", "registry of the tests"


class TokenRealm:
    """Gives the tokens asked for to whoever has the login."""

    def __init__(self, folder: Path, *, username: str, password: str) -> None:
        self.lifetime = timedelta(minutes=5)
        self.asked: list[dict[str, str]] = []
        """Parameters of each question."""
        self.scopes: list[list[str]] = []
        """What each question asked a token for."""
        self._login = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._certified()
        self._bundle = folder / "realm.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.app = Starlette(routes=[Route("/token", self._token)])

    def settings(self, url: str) -> dict[str, Any]:
        """The registry's `auth`, for a realm that is served there."""
        bundle = str(self._bundle)
        realm = {"realm": f"{url}/token", "service": SERVICE, "issuer": ISSUER}
        return {"token": {**realm, "rootcertbundle": bundle}}

    def _certified(self) -> x509.Certificate:
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "realm")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )

    async def _token(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        self.scopes.append(request.query_params.getlist("scope"))
        if request.headers.get("Authorization") != f"Basic {self._login}":
            return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]}, 401)
        return JSONResponse({"token": self.token(*request.query_params.getlist("scope"))})

    def token(self, *scopes: str) -> str:
        """A token that allows that."""
        asked = [scope.split(":") for scope in scopes]
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "somebody",
            "iat": now,
            "nbf": now - timedelta(minutes=1),
            "exp": now + self.lifetime,
            "access": [
                {"type": kind, "name": name, "actions": actions.split(",")}
                for kind, name, actions in asked
            ],
        }
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        headers = {"x5c": [base64.b64encode(der).decode()]}
        return jwt.encode(claims, self._key, "ES256", headers)
