"""A client of the OCI distribution API, as far as it is needed. Blocking.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from urllib.parse import quote, urlencode, urljoin, urlsplit

from pipelines.registries import challenges
from pipelines.registries.guard import Guard
from pipelines.registries.limits import RateLimit, read_limit
from pipelines.registries.logins import Login
from pipelines.registries.manifests import ACCEPTED, Manifest, read_manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError, refused
from pipelines.registries.transport import (
    MAX_ANSWER,
    Answer,
    Readable,
    SilenceError,
    Transport,
    Upload,
)

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _FAULTS = 200, 401, 403, 404, 429, 500
_CREATED, _ACCEPTED = 201, 202
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
PULL, PUSH, DELETE = "pull", "pull,push", "delete"
"""What a question, and what a change, needs permission for."""
_BASIC = {"WWW-Authenticate": "Basic"}
_BYTES = "application/octet-stream"


class RegistryClient:
    """One repository of one registry, with our login. Several threads may ask at once.

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
        self._greeting: Answer | None = None
        self._authorizations: dict[str, str] = {}
        """By action."""
        self._what = ""
        self._also: set[str] = set()
        """What else a token must be good for."""
        self._places: list[str] = []
        """Uploads that were opened and not begun."""
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
        what = self._what or f"look-up of {self._repository}"
        schemes = ("https", "http") if self._insecure else ("https",)
        for scheme in schemes:
            base = f"{scheme}://{self._repository.api}/v2/"
            try:
                self._greeting = self._transport.get(base, {})
            except SilenceError as error:
                if scheme == schemes[-1]:
                    raise self.error(what, Refusal.UNAVAILABLE, str(error)) from error
            else:
                return base
        raise AssertionError("the last scheme answers or raises")

    def resolve(self, tag: str) -> Manifest | None:
        """What the registry has under a tag; None: nothing.

        Raises:
            RegistryError: It cannot be reached, or does not say.
        """
        found = self.manifest(tag)
        return None if found is None else read_manifest(*found)

    def manifest(self, name: str) -> tuple[bytes, str] | None:
        """The very bytes of a manifest, by tag or digest, and their media type; None: none.

        Raises:
            RegistryError: It cannot be reached, does not say, or says something else.
        """
        sign = "@" if ":" in name else ":"
        what = self._what or f"look-up of {self._repository}{sign}{name}"
        accepted = {"Accept": ", ".join(ACCEPTED)}
        answer = self.ask("GET", f"manifests/{quote(name, safe=':')}", what, headers=accepted)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise self.refusal(what, answer)
        digest = read_manifest(answer.body, "").digest
        told = answer.headers.get("Docker-Content-Digest", "")
        for expected in (told, name):
            if expected.startswith("sha256:") and expected != digest:
                message = f"the bytes of {digest} as {expected}: something between changes them"
                raise self.error(what, Refusal.OTHER, message)
        return answer.body, answer.headers.get("Content-Type", "")

    def put_manifest(self, tag: str, body: bytes, media_type: str) -> None:
        """Put a manifest under a tag. What it names must be there.

        Raises:
            RegistryError: It was refused, or the registry keeps other bytes.
        """
        what = self._what or f"push of {self._repository}:{tag}"
        path, kind = f"manifests/{quote(tag, safe=':')}", {"Content-Type": media_type}
        answer = self.ask("PUT", path, what, action=PUSH, headers=kind, body=body)
        if answer.status not in (_OK, _CREATED):
            raise self.refusal(what, answer)
        told, ours = answer.headers.get("Docker-Content-Digest"), read_manifest(body, "").digest
        if told is not None and told != ours:
            message = f"it keeps {told} in place of {ours}: something between changes bytes"
            raise self.error(what, Refusal.OTHER, message)

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob.

        Raises:
            RegistryError: It cannot be reached, or does not say.
        """
        what = self._what or f"look-up of {self._repository}@{digest}"
        answer = self.ask("HEAD", f"blobs/{quote(digest, safe=':')}", what, action=PUSH)
        if answer.status == _NOT_FOUND:
            return False
        if answer.status == _OK or answer.status in _REDIRECTS:
            return True
        raise self.refusal(what, answer)

    def doing(self, what: str) -> None:
        """Say what all is for, as errors tell it: `push of ghcr.io/acme/web:1`."""
        self._what = what

    def takes_from(self, other: Repository) -> None:
        """Say that blobs may be taken over from another repository of this registry."""
        scope = f"repository:{other.path}:{PULL}"
        if scope not in self._also:
            self._also.add(scope)
            self._authorizations.clear()  # tokens that know nothing of it

    def mount_blob(self, digest: str, other: Repository) -> bool:
        """Take a blob over from another repository of this registry; False: it must be sent.

        Raises:
            RegistryError: The registry cannot be reached, or nothing may be pushed.
        """
        what = self._what or f"push to {self._repository}"
        asked = {"mount": digest, "from": other.path}
        path = f"blobs/uploads/?{urlencode(asked)}"
        answer = self.ask("POST", path, what, action=PUSH)
        if answer.status == _CREATED:
            return True
        if answer.status != _ACCEPTED:
            raise self.refusal(what, answer)
        self._places.append(self._location(what, answer))
        return False

    def put_blob(self, digest: str, size: int, file: Readable, check: Callable[[], None]) -> None:
        """Send a blob.

        Args:
            digest: Of what comes.
            size: Bytes of it.
            file: Is read as the bytes are sent.
            check: Is called for each piece; what it raises ends the upload.

        Raises:
            RegistryError: It was refused, or broke off.
        """
        what = self._what or f"push to {self._repository}"
        # A mount that the registry did not make has opened an upload already.
        place = self._places.pop() if self._places else self._place(what)
        sign = "&" if urlsplit(place).query else "?"
        url = f"{place}{sign}{urlencode({'digest': digest})}"
        headers = {"Content-Type": _BYTES, "Content-Length": str(size)}
        if self._is_ours(url):
            headers |= self._known(PUSH)
        answer = self._request(what, url, headers, method="PUT", body=Upload(file, size, check))
        if answer.status != _CREATED:
            raise self.refusal(what, answer)

    @contextlib.contextmanager
    def blob(self, digest: str) -> Iterator[Readable]:
        """A blob's bytes as they come; whoever takes them must see that they are those.

        Registries send us to where their bytes lie. Our login does not go there.

        Raises:
            RegistryError: There is none, or it broke off.
        """
        what = self._what or f"pull of {self._repository}@{digest}"
        head = self.ask("HEAD", f"blobs/{quote(digest, safe=':')}", what)
        if head.status == _NOT_FOUND:
            raise self.error(what, Refusal.NOT_FOUND, head.reason)
        if head.status != _OK and head.status not in _REDIRECTS:
            raise self.refusal(what, head)
        url = f"{self._base}{self._repository.path}/blobs/{quote(digest, safe=':')}"
        with contextlib.ExitStack() as held:
            try:
                for _ in range(_MOST_REDIRECTS + 1):
                    headers = self._known(PULL) if self._is_ours(url) else {}
                    response = held.enter_context(self._transport.opened("GET", url, headers))
                    if response.status_code not in _REDIRECTS:
                        break
                    url = self._elsewhere(what, url, response.headers.get("Location", ""))
                if response.status_code != _OK:
                    raise self.error(what, Refusal.OTHER, f"HTTP {response.status_code}")
                response.raw.decode_content = False
                yield response.raw
            except SilenceError as error:
                raise self.error(what, Refusal.UNAVAILABLE, str(error)) from error

    def small_blob(self, digest: str) -> bytes:
        """A blob of a few kilobytes, like a configuration.

        Raises:
            RegistryError: There is none, it is large, or its bytes are others.
        """
        with self.blob(digest) as file:
            data = file.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER or f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            what = self._what or f"pull of {self._repository}@{digest}"
            raise self.error(what, Refusal.OTHER, f"other bytes than those of {digest}")
        return data

    def _elsewhere(self, what: str, asked: str, location: str) -> str:
        url = urljoin(asked, location)
        safe = urlsplit(url).scheme == "https" or urlsplit(asked).scheme == "http"
        if not location or urlsplit(url).scheme not in ("http", "https") or not safe:
            raise self.error(what, Refusal.OTHER, f"sends us to {location!r}, where we do not go")
        return url

    def _is_ours(self, url: str) -> bool:
        """Whether it is the registry itself, which alone gets our login."""
        there, here = urlsplit(url), urlsplit(self._base or "")
        return (there.scheme, there.netloc) == (here.scheme, here.netloc)

    def _place(self, what: str) -> str:
        """Where a new upload goes."""
        answer = self.ask("POST", "blobs/uploads/", what, action=PUSH)
        if answer.status != _ACCEPTED:
            raise self.refusal(what, answer)
        return self._location(what, answer)

    def _location(self, what: str, answer: Answer) -> str:
        return self._elsewhere(what, answer.url, answer.headers.get("Location", ""))

    def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        action: str = PULL,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
    ) -> Answer:
        """The answer, after the registry has seen whatever it wants to see first.

        Args:
            method: `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
            path: Behind the repository's name (`manifests/1`), or an address that the registry
                itself gave, which must lead to itself.
            what: For people: "look-up of ghcr.io/acme/web:1".
            action: What it needs permission for: `PULL`, `PUSH` or `DELETE`.
            headers: Besides the login.
            body: What is sent along.

        Raises:
            RegistryError: It cannot be reached, or refuses to say who may ask.
        """
        with self._lock:
            # Of several that ask at once as the first, one finds out how.
            if self._base is None:
                self._base = self.ping()
            if action not in self._authorizations:
                self._show_login(what, action)
        url = self._address(what, path)

        def once() -> Answer:
            known = {**headers, **self._known(action)}
            return self._request(what, url, known, method=method, body=body)

        answer = once()
        if answer.status == _UNAUTHORIZED:
            # None was sent yet, or a token that is too old.
            self._authorizations[action] = self._authorization(what, answer, action)
            answer = once()
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN) and self._renewed():
            asking = answer if answer.status == _UNAUTHORIZED else self._first()
            self._authorizations[action] = self._authorization(what, asking, action)
            answer = once()
        return answer

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
        if self._greeting is not None and self._greeting.status == _UNAUTHORIZED:
            return self._greeting
        return Answer(self._base or "", _UNAUTHORIZED, _BASIC, b"")

    def _renewed(self) -> bool:
        login = None if self._renew is None else self._renew()
        if login is None:
            return False
        self._login = login
        self._authorizations.clear()
        return True

    def _show_login(self, what: str, action: str) -> None:
        """Get ready what the registry's greeting asks for, in place of being refused first."""
        greeting = self._greeting
        if greeting is not None and greeting.status == _UNAUTHORIZED and self._login is not None:
            self._authorizations[action] = self._authorization(what, greeting, action)

    def _known(self, action: str) -> dict[str, str]:
        known = self._authorizations.get(action)
        return {} if known is None else {"Authorization": known}

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
        scopes = [f"repository:{self._repository.path}:{action}", *sorted(self._also)]
        parameters = [("scope", scope) for scope in scopes]
        if challenge.service is not None:
            parameters.append(("service", challenge.service))
        headers = {} if self._login is None else {"Authorization": challenges.basic(self._login)}
        answer = self._request(what, challenge.realm, headers, parameters=parameters)
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
        *,
        method: str = "GET",
        parameters: Sequence[tuple[str, str]] | None = None,
        body: bytes | Upload | None = None,
    ) -> Answer:
        try:
            answer = self._transport.send(method, url, headers, body=body, parameters=parameters)
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
