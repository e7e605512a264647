"""A client of the OCI distribution API, as far as it is needed. Blocking.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

from pipelines.registries import challenges
from pipelines.registries.logins import Login
from pipelines.registries.manifests import ACCEPTED, Manifest, read_manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError, refused
from pipelines.registries.transport import Answer, SilenceError, Transport

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _FAULTS = 200, 401, 403, 404, 429, 500
_PULL = "pull"
"""What a question needs permission for; a change will need `pull,push` or `delete`."""


class RegistryClient:
    """One repository of one registry, with our login.

    Args:
        repository: What it is about.
        login: None: as nobody.
        insecure: Whether the engine, too, would go there without a certificate, or without TLS.
    """

    def __init__(self, repository: Repository, *, login: Login | None, insecure: bool) -> None:
        self._repository = repository
        self._login = login
        self._insecure = insecure
        self._transport = Transport(insecure=insecure)
        self._base: str | None = None
        self._authorizations: dict[str, str] = {}
        """By action."""

    def close(self) -> None:
        """Drop the connections."""
        self._transport.close()

    def ping(self) -> str:
        """Where the API answers: with TLS, or, where the registry is insecure, without.

        Raises:
            RegistryError: Nowhere.
        """
        what = f"look-up of {self._repository}"
        schemes = ("https", "http") if self._insecure else ("https",)
        for scheme in schemes:
            base = f"{scheme}://{self._repository.api}/v2/"
            try:
                self._transport.get(base, {})
            except SilenceError as error:
                if scheme == schemes[-1]:
                    raise self._error(what, Refusal.UNAVAILABLE, str(error)) from error
            else:
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
            raise self._refusal(what, answer)
        manifest = read_manifest(answer.body, answer.headers.get("Content-Type", ""))
        told = answer.headers.get("Docker-Content-Digest", "")
        if told.startswith("sha256:") and told != manifest.digest:
            message = f"the bytes of {manifest.digest} as {told}: something between changes them"
            raise self._error(what, Refusal.OTHER, message)
        return manifest

    def _get(self, path: str, what: str) -> Answer:
        """The answer, after the registry has seen whatever it wants to see first."""
        if self._base is None:
            self._base = self.ping()
        url = f"{self._base}{self._repository.path}/{path}"
        answer = self._request(what, url, {"Accept": ", ".join(ACCEPTED)} | self._known(_PULL))
        if answer.status == _UNAUTHORIZED:
            # None was sent yet, or a token that is too old.
            self._authorizations[_PULL] = self._authorization(what, answer, _PULL)
            answer = self._request(what, url, {"Accept": ", ".join(ACCEPTED)} | self._known(_PULL))
        return answer

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
        raise self._refusal(what, answer)

    def _token(self, what: str, asked: str, challenge: challenges.Challenge, action: str) -> str:
        place = urlsplit(challenge.realm).hostname
        if not challenges.may_have_the_login(challenge.realm, asked=asked):
            message = f"ask {place} for a token: but no login goes there from {asked}"
            raise self._error(what, Refusal.OTHER, message)
        parameters = {"scope": f"repository:{self._repository.path}:{action}"}
        if challenge.service is not None:
            parameters["service"] = challenge.service
        headers = {} if self._login is None else {"Authorization": challenges.basic(self._login)}
        answer = self._request(what, challenge.realm, headers, parameters)
        if answer.status != _OK:
            raise self._refusal(what, answer)
        token = challenges.read_token(answer.body)
        if token is None:
            raise self._error(what, Refusal.OTHER, f"{place} gave no token")
        return token

    def _request(
        self,
        what: str,
        url: str,
        headers: dict[str, str],
        parameters: dict[str, str] | None = None,
    ) -> Answer:
        try:
            return self._transport.get(url, headers, parameters)
        except SilenceError as error:
            raise self._error(what, Refusal.UNAVAILABLE, str(error)) from error

    def _refusal(self, what: str, answer: Answer) -> RegistryError:
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            return self._error(what, Refusal.DENIED, answer.reason)
        if answer.status == _TOO_MANY or answer.status >= _FAULTS:
            return self._error(what, Refusal.UNAVAILABLE, answer.reason, _retry_after(answer))
        return self._error(what, Refusal.OTHER, answer.reason)

    def _error(
        self, what: str, refusal: Refusal, told: str, retry_after: float | None = None
    ) -> RegistryError:
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
