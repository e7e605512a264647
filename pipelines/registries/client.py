"""A client of the OCI distribution API, as far as it is needed. Blocking.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from pipelines.registries import challenges
from pipelines.registries.guard import Guard
from pipelines.registries.limits import RateLimit, read_limit
from pipelines.registries.logins import Login
from pipelines.registries.manifests import ACCEPTED, Manifest, read_manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError, refused
from pipelines.registries.transport import Answer, Parameters, SilenceError, Transport, Upload

_BASIC = {"WWW-Authenticate": "Basic"}
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _FAULTS = 200, 401, 403, 404, 429, 500
PULL, PUSH, DELETE = "pull", "pull,push", "delete"
"""What a question needs permission for."""


class _Question(NamedTuple):
    method: str
    url: str
    headers: dict[str, str]
    parameters: Parameters | None
    data: bytes | None
    key: str
    what: str


class RegistryClient:
    """One repository of one registry, with our login. Several threads may use it at once.

    Args:
        repository: What it is about.
        login: None: as nobody.
        insecure: Whether the engine, too, would go there without a certificate, or without TLS.
        guard: Which addresses may be connected to; None: any.
        renew: Gives a new login in place of one that was refused; None where there is none.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        login: Login | None,
        insecure: bool,
        guard: Guard | None = None,
        renew: Callable[[], Login | None] | None = None,
    ) -> None:
        self._repository = repository
        self._login = login
        self._insecure = insecure
        self._transport = Transport(insecure=insecure, guard=guard)
        self._renew = renew
        self._lock = threading.Lock()
        self._base: str | None = None
        self._purpose = ""
        """What all is for, for people: "push of ghcr.io/acme/web:1"; empty: each says its own."""
        self._challenged: Answer | None = None
        """The 401 that the first question was answered with."""
        self._authorizations: dict[str, str] = {}
        """By action."""
        self.limit: RateLimit | None = None
        """What the registry told last of how often it may be asked."""

    @property
    def repository(self) -> Repository:
        """What it is about."""
        return self._repository

    def close(self) -> None:
        """Drop the connections."""
        self._transport.close()

    def ping(self) -> str:
        """Where the API answers: with TLS, or, where the registry is insecure, without.

        Raises:
            RegistryError: Nowhere.
        """
        what = self._purpose or f"look-up of {self._repository}"
        schemes = ("https", "http") if self._insecure else ("https",)
        for scheme in schemes:
            base = f"{scheme}://{self._repository.api}/v2/"
            try:
                answer = self._transport.get(base, {})
            except SilenceError as error:
                if scheme == schemes[-1]:
                    raise self.error(what, Refusal.UNAVAILABLE, str(error)) from error
            else:
                self._challenged = answer if answer.status == _UNAUTHORIZED else None
                return base
        raise AssertionError("the last scheme answers or raises")

    def resolve(self, tag: str) -> Manifest | None:
        """What the registry has under a tag; None: nothing.

        Raises:
            RegistryError: It cannot be reached, or does not say.
        """
        what = f"look-up of {self._repository}:{tag}"
        answer = self._get(f"manifests/{quote(tag, safe=':')}", what)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise self.refusal(what, answer)
        manifest = read_manifest(answer.body, answer.headers.get("Content-Type", ""))
        told = answer.headers.get("Docker-Content-Digest", "")
        if told.startswith("sha256:") and told != manifest.digest:
            message = f"the bytes of {manifest.digest} as {told}: something between changes them"
            raise self.error(what, Refusal.OTHER, message)
        return manifest

    def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        action: str = PULL,
        headers: Mapping[str, str] | None = None,
        parameters: Parameters | None = None,
        data: bytes | None = None,
        also: str = "",
    ) -> Answer:
        """The answer, after the registry has seen whatever it wants to see first.

        Args:
            method: `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
            path: Behind the repository's name (`manifests/1`), or an address that the registry
                itself gave, which must lead to itself.
            what: For people: "look-up of ghcr.io/acme/web:1".
            action: What it needs permission for: `PULL`, `PUSH` or `DELETE`.
            headers: Besides the login.
            parameters: Of the address.
            data: The body.
            also: Paths of other repositories that must be readable, too, with blanks between.

        Raises:
            RegistryError: It cannot be reached, or refuses to say who may ask.
        """
        key = f"{action} {also}".strip()
        with self._lock:
            # Of several that ask at once as the first, one finds out how.
            if self._base is None:
                self._base = self.ping()
            if key not in self._authorizations and self._challenged and self._login:
                self._authorize(what, self._challenged, key)
        url = self._address(what, path)
        question = _Question(method, url, dict(headers or {}), parameters, data, key, what)
        answer = self._once(question)
        if answer.status == _UNAUTHORIZED:
            # None was sent yet, or a token that is too old.
            self._authorize(what, answer, key)
            answer = self._once(question)
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN) and self._renewed():
            self._authorize(what, answer if answer.status == _UNAUTHORIZED else self._first(), key)
            answer = self._once(question)
        return answer

    def _once(self, question: _Question) -> Answer:
        known = self._authorizations.get(question.key)
        headers = (
            question.headers if known is None else {**question.headers, "Authorization": known}
        )
        return self._request(
            question.what,
            question.url,
            headers,
            question.parameters,
            method=question.method,
            data=question.data,
        )

    def _address(self, what: str, path: str) -> str:
        base = self._base or ""
        if not path.startswith(("http://", "https://", "/")):
            return f"{base}{self._repository.path}/{path}"
        here, there = urlsplit(base), urlsplit(urljoin(base, path))
        if there.netloc != here.netloc:
            message = f"go to {there.netloc}: but no login goes there from {base}"
            raise self.error(what, Refusal.OTHER, message)
        # A registry behind a proxy may not know that it was reached by TLS.
        return there._replace(scheme=here.scheme).geturl()

    def _first(self) -> Answer:
        """The challenge of a registry that refuses with a 403 what it knows too well."""
        return self._challenged or Answer(self._base or "", _UNAUTHORIZED, _BASIC, b"")

    def _renewed(self) -> bool:
        login = None if self._renew is None else self._renew()
        if login is None:
            return False
        self._login = login
        self._authorizations.clear()
        return True

    def _get(self, path: str, what: str) -> Answer:
        return self.ask("GET", path, what, headers={"Accept": ", ".join(ACCEPTED)})

    def _authorize(self, what: str, answer: Answer, key: str) -> str:
        self._authorizations[key] = self._authorization(what, answer, key)
        return self._authorizations[key]

    def _authorization(self, what: str, answer: Answer, action: str) -> str:
        """What the challenge of a 401 asks for."""
        challenge = challenges.read_challenge(answer.headers)
        if challenge.scheme == "basic" and self._login is not None:
            return challenges.basic(self._login)
        if challenge.scheme == "bearer":
            return "Bearer " + self._token(what, answer.url, challenge, action)
        raise self.refusal(what, answer)

    def _token(self, what: str, asked: str, challenge: challenges.Challenge, action: str) -> str:
        place = urlsplit(challenge.realm).hostname
        if not challenges.may_have_the_login(challenge.realm, asked=asked):
            message = f"ask {place} for a token: but no login goes there from {asked}"
            raise self.error(what, Refusal.OTHER, message)
        action, *also = action.split(" ")
        scopes = [f"repository:{self._repository.path}:{action}"]
        scopes += [f"repository:{path}:{PULL}" for path in also]
        parameters: dict[str, str | Sequence[str]] = {"scope": scopes}
        if challenge.service is not None:
            parameters["service"] = challenge.service
        headers = {} if self._login is None else {"Authorization": challenges.basic(self._login)}
        answer = self._request(what, challenge.realm, headers, parameters)
        if answer.status != _OK:
            raise self.refusal(what, answer)
        token = challenges.read_token(answer.body)
        if token is None:
            raise self.error(what, Refusal.OTHER, f"{place} gave no token")
        return token

    def _request(
        self,
        what: str,
        url: str,
        headers: Mapping[str, str],
        parameters: Parameters | None = None,
        *,
        method: str = "GET",
        data: bytes | Upload | None = None,
    ) -> Answer:
        try:
            answer = self._transport.request(method, url, headers, parameters, data)
        except SilenceError as error:
            raise self.error(what, Refusal.UNAVAILABLE, str(error)) from error
        self.limit = read_limit(answer.headers) or self.limit
        return answer

    def refusal(self, what: str, answer: Answer) -> RegistryError:
        """The error for an answer that is not what was hoped for."""
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            return self.error(what, Refusal.DENIED, answer.reason)
        if answer.status == _NOT_FOUND:
            return self.error(what, Refusal.NOT_FOUND, answer.reason)
        if answer.status == _TOO_MANY or answer.status >= _FAULTS:
            return self.error(what, Refusal.UNAVAILABLE, answer.reason, _retry_after(answer))
        return self.error(what, Refusal.OTHER, answer.reason)

    def error(
        self, what: str, refusal: Refusal, told: str, retry_after: float | None = None
    ) -> RegistryError:
        """An error of that kind, in a sentence for people."""
        host = self._repository.host
        return refused(what, host, self._login, refusal, told, retry_after=retry_after)


def _retry_after(answer: Answer) -> float | None:
    """https://www.rfc-editor.org/rfc/rfc9110#name-retry-after: seconds, or a date."""
    told = answer.headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:9])
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(0.0, (at.astimezone(UTC) - datetime.now(UTC)).total_seconds())
