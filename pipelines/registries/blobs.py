"""What an image is made of, to and from one repository of a registry. Blocking.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from pipelines.registries.client import PULL, PUSH, RegistryClient
from pipelines.registries.manifests import ACCEPTED, read_manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal
from pipelines.registries.transport import Answer, Readable, SilenceError, Upload

_OK, _CREATED, _ACCEPTED, _NOT_FOUND = 200, 201, 202, 404
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_BYTES = "application/octet-stream"


class BlobClient(RegistryClient):
    """A client that carries blobs and manifests. One thread may use it at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the base's own
        super().__init__(*args, **kwargs)
        self._also: set[str] = set()
        self._places: list[str] = []
        """Uploads that were opened and not begun."""

    def doing(self, what: str) -> None:
        """Say what all is for, as errors tell it: `push of ghcr.io/acme/web:1`."""
        self._purpose = what

    def takes_from(self, other: Repository) -> None:
        """Say that blobs may be taken over from another repository of this registry."""
        self._also.add(other.path)

    def manifest(self, name: str) -> tuple[bytes, str] | None:
        """The very bytes of a manifest, by tag or digest, and their media type; None: none.

        Raises:
            RegistryError: It cannot be reached, does not say, or says something else.
        """
        sign = "@" if ":" in name else ":"
        what = self._purpose or f"look-up of {self._repository}{sign}{name}"
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
        what = self._purpose or f"push of {self._repository}:{tag}"
        path, kind = f"manifests/{quote(tag, safe=':')}", {"Content-Type": media_type}
        answer = self.ask(
            "PUT", path, what, action=PUSH, also=self._others, headers=kind, data=body
        )
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
        what = self._purpose or f"look-up of {self._repository}@{digest}"
        answer = self.ask(
            "HEAD", f"blobs/{quote(digest, safe=':')}", what, action=PUSH, also=self._others
        )
        if answer.status == _NOT_FOUND:
            return False
        if answer.status == _OK or answer.status in _REDIRECTS:
            return True
        raise self.refusal(what, answer)

    def mount_blob(self, digest: str, other: Repository) -> bool:
        """Take a blob over from another repository of this registry; False: it must be sent.

        Raises:
            RegistryError: The registry cannot be reached, or nothing may be pushed.
        """
        what = self._purpose or f"push to {self._repository}"
        asked = {"mount": digest, "from": other.path}
        path = f"blobs/uploads/?{urlencode(asked)}"
        answer = self.ask("POST", path, what, action=PUSH, also=self._others)
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
        what = self._purpose or f"push to {self._repository}"
        # A mount that the registry did not make has opened an upload already.
        place = self._places.pop() if self._places else self._place(what)
        sign = "&" if urlsplit(place).query else "?"
        url = f"{place}{sign}{urlencode({'digest': digest})}"
        headers = {"Content-Type": _BYTES, "Content-Length": str(size)}
        if self._is_ours(url):
            headers |= self._known(PUSH, self._others)
        answer = self._request(what, url, headers, method="PUT", data=Upload(file, size, check))
        if answer.status != _CREATED:
            raise self.refusal(what, answer)

    @contextlib.contextmanager
    def blob(self, digest: str) -> Iterator[Readable]:
        """A blob's bytes as they come; whoever takes them must see that they are those.

        Registries send us to where their bytes lie. Our login does not go there.

        Raises:
            RegistryError: There is none, or it broke off.
        """
        what = self._purpose or f"pull of {self._repository}@{digest}"
        head = self.ask("HEAD", f"blobs/{quote(digest, safe=':')}", what)
        if head.status == _NOT_FOUND:
            raise self.error(what, Refusal.NOT_FOUND, head.reason)
        if head.status != _OK and head.status not in _REDIRECTS:
            raise self.refusal(what, head)
        url = f"{self._base}{self._repository.path}/blobs/{quote(digest, safe=':')}"
        with contextlib.ExitStack() as held:
            try:
                for _ in range(_MOST_REDIRECTS + 1):
                    headers = self._known(PULL, "") if self._is_ours(url) else {}
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
        answer = self.ask("POST", "blobs/uploads/", what, action=PUSH, also=self._others)
        if answer.status != _ACCEPTED:
            raise self.refusal(what, answer)
        return self._location(what, answer)

    def _location(self, what: str, answer: Answer) -> str:
        return self._elsewhere(what, answer.url, answer.headers.get("Location", ""))

    @property
    def _others(self) -> str:
        return " ".join(sorted(self._also))

    def _known(self, action: str, also: str) -> dict[str, str]:
        known = self._authorizations.get(f"{action} {also}".strip())
        return {} if known is None else {"Authorization": known}
