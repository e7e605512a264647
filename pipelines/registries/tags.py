"""What is done with tags and manifests that are in a registry already; no blob is moved. Blocking.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode, urlsplit

from pipelines.references import is_write_once
from pipelines.registries.client import DELETE, PUSH, RegistryClient
from pipelines.registries.contents import DIGEST, Part, PartKind, UnreadableError, read_parts
from pipelines.registries.manifests import ACCEPTED, read_manifest
from pipelines.registries.refusals import Refusal, RegistryError
from pipelines.registries.transport import Answer
from pipelines.values import Value

_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_FOUND = 200, 201, 202, 204, 404
_SENT_ON = range(300, 400)
_NOT_ALLOWED = (400, 405)
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)
PAGES = 200
"""Pages of tags that are read at most."""
PAGE = 1000
AT_ONCE = 8
"""Questions at the same time."""


class Fetched(Value):
    """A manifest or index as the registry keeps it, byte for byte."""

    body: bytes
    media_type: str
    digest: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it names.

        Raises:
            UnreadableError: It is no manifest.
        """
        return read_parts(self.body)


def tags(client: RegistryClient) -> list[str]:
    """Every tag of the repository, in the registry's order; of one that is not there none.

    Raises:
        RegistryError: It cannot be reached, or does not say.
    """
    what = f"list of the tags of {client.repository}"
    found: dict[str, None] = {}
    path = f"tags/list?n={PAGE}"
    for _ in range(PAGES):
        answer = client.ask("GET", path, what)
        if answer.status == _NOT_FOUND:
            return list(found)
        if answer.status != _OK:
            raise client.refusal(what, answer)
        found.update(dict.fromkeys(_listed(client, what, answer)))
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            return list(found)
        path = _within(answer.url, following[1])
    raise client.error(what, Refusal.OTHER, f"it has more than {PAGES} pages of tags")


def _listed(client: RegistryClient, what: str, answer: Answer) -> list[str]:
    try:
        listed = answer.json().get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        raise client.error(what, Refusal.OTHER, "its list of tags cannot be read") from None
    return [tag for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []


def _within(asked: str, link: str) -> str:
    """Where the next page is: from the root, or beside the page before."""
    if link.startswith(("/", "http://", "https://")):
        return link
    return f"{urlsplit(asked).path.rpartition('/')[0]}/{link}"


def fetch(client: RegistryClient, reference: str) -> Fetched | None:
    """The manifest under a tag or a digest; None: there is none. One round trip.

    Raises:
        RegistryError: It cannot be had, or its bytes are not those of the digest.
    """
    found = client.manifest(reference)
    if found is None:
        return None
    body, kind = found
    return Fetched(
        body=body,
        media_type=kind.partition(";")[0].strip() or ACCEPTED[1],
        digest=read_manifest(body, kind).digest,
    )


def digest_of(client: RegistryClient, reference: str) -> str | None:
    """The digest under a tag; None: nothing is. A HEAD, which no registry counts as a pull.

    Raises:
        RegistryError: The registry cannot be reached, or does not say.
    """
    what = f"look-up of {_named(client, reference)}"
    headers = {"Accept": ", ".join(ACCEPTED)}
    answer = client.ask("HEAD", _manifest(reference), what, headers=headers)
    if answer.status == _NOT_FOUND:
        return None
    if answer.status != _OK:
        raise client.refusal(what, answer)
    digest = _told(answer)
    if digest is not None:
        return digest
    fetched = fetch(client, reference)  # some registries tell no digest in headers
    return None if fetched is None else fetched.digest


def put(client: RegistryClient, fetched: Fetched, tag: str) -> None:
    """Have a tag lead to a manifest that is in the repository. One round trip.

    Raises:
        RegistryError: Refused, or the registry keeps other bytes than it was given.
    """
    what = f"move of {_named(client, tag)}"
    headers = {"Content-Type": fetched.media_type}
    answer = client.ask(
        "PUT", _manifest(tag), what, action=PUSH, headers=headers, body=fetched.body
    )
    if answer.status not in (_OK, _CREATED):
        raise client.refusal(what, answer)
    now = _told(answer) or digest_of(client, tag)
    if now != fetched.digest:
        message = f"the tag leads to {now or 'nothing'} now, not to {fetched.digest}"
        raise client.error(what, Refusal.OTHER, message)


def contents(client: RegistryClient, fetched: Fetched) -> tuple[list[Part], list[Part]]:
    """Every part of an image, through an index down to the layers; and manifests that are gone.

    Raises:
        RegistryError: The registry does not say, or a manifest is none.
    """
    found: dict[str, Part] = {}
    gone: list[Part] = []
    waiting = [fetched]
    while waiting:
        for part in _read(client, waiting.pop()):
            if part.digest in found:
                continue
            found[part.digest] = part
            if part.kind is PartKind.MANIFEST:
                below = fetch(client, part.digest)
                if below is None:
                    gone.append(part)
                else:
                    waiting.append(below)
    return list(found.values()), gone


def _read(client: RegistryClient, fetched: Fetched) -> tuple[Part, ...]:
    try:
        return fetched.parts
    except UnreadableError as error:
        what = f"look-up of {_named(client, fetched.digest)}"
        raise client.error(what, Refusal.OTHER, f"a manifest that is none: {error}") from error


def missing(client: RegistryClient, parts: Sequence[Part]) -> list[Part]:
    """Those that the registry has not, asked for several at once.

    Raises:
        RegistryError: It cannot be reached, or does not say of one.
    """
    if not parts:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(parts)), thread_name_prefix="registry") as pool:
        there = list(pool.map(lambda part: is_there(client, part), parts))
    return [part for part, found in zip(parts, there, strict=True) if not found]


def is_there(client: RegistryClient, part: Part) -> bool:
    """Whether the registry has a part, by a HEAD.

    Raises:
        RegistryError: It cannot be reached, or does not say.
    """
    what = f"look-up of {part} of {client.repository}"
    if part.kind is PartKind.MANIFEST:
        headers = {"Accept": ", ".join(ACCEPTED)}
        answer = client.ask("HEAD", _manifest(part.digest), what, headers=headers)
    else:
        answer = client.ask("HEAD", f"blobs/{part.digest}", what)
    if answer.status == _NOT_FOUND:
        return False
    # Some keep blobs elsewhere: that it sends us there is all that is asked.
    if answer.status == _OK or answer.status in _SENT_ON:
        return True
    raise client.refusal(what, answer)


def copy(source: RegistryClient, target: RegistryClient, digest: str, tag: str) -> None:
    """The image under that digest into another repository of the registry, without its bytes.

    Raises:
        RegistryError: It is not there, or the registry does not hand blobs on (mount), or the tag
            is one that is written once and leads to something else.
    """
    target.takes_from(source.repository)
    fetched = fetch(source, digest)
    what = f"copy of {_named(source, digest)} to {target.repository}"
    if is_write_once(tag) and digest_of(target, tag) not in (None, digest):
        message = f"{tag} leads to something else there, and is written once: choose another tag"
        raise target.error(what, Refusal.OTHER, message)
    if fetched is None:
        raise target.error(what, Refusal.NOT_FOUND, "no such manifest")
    _copy_below(source, target, fetched, what)
    put(target, fetched, tag)


def _copy_below(
    source: RegistryClient, target: RegistryClient, fetched: Fetched, what: str
) -> None:
    for part in _read(source, fetched):
        if part.kind is not PartKind.MANIFEST:
            _mount(source, target, part, what)
            continue
        below = fetch(source, part.digest)
        if below is None:
            raise target.error(what, Refusal.OTHER, f"{part} is gone")
        _copy_below(source, target, below, what)
        put(target, below, part.digest)


def _mount(source: RegistryClient, target: RegistryClient, part: Part, what: str) -> None:
    asked = urlencode({"mount": part.digest, "from": source.repository.path})
    answer = target.ask("POST", f"blobs/uploads/?{asked}", what, action=PUSH)
    if answer.status == _CREATED:
        return
    if answer.status != _ACCEPTED:
        raise target.refusal(what, answer)
    _give_up_upload(target, answer, what)
    raise target.error(what, Refusal.OTHER, f"{part} would have to be uploaded: push it instead")


def delete(client: RegistryClient, reference: str) -> bool:
    """Delete a tag, or a digest with every tag that leads to it; False: it was not there.

    Raises:
        RegistryError: The registry does not delete, or refuses.
    """
    what = f"deletion of {_named(client, reference)}"
    answer = client.ask("DELETE", _manifest(reference), what, action=DELETE)
    if answer.status == _NOT_FOUND:
        return False
    if answer.status in _NOT_ALLOWED:
        raise client.error(what, Refusal.OTHER, f"it does not delete that ({answer.reason})")
    if answer.status not in (_OK, _ACCEPTED, _NO_CONTENT):
        raise client.refusal(what, answer)
    return True


def check_push(client: RegistryClient) -> None:
    """See that the login may push: an upload is begun and given up, so nothing stays.

    Raises:
        RegistryError: It may not, or the registry cannot be reached.
    """
    what = f"push to {client.repository}"
    answer = client.ask("POST", "blobs/uploads/", what, action=PUSH)
    if answer.status != _ACCEPTED:
        raise client.refusal(what, answer)
    _give_up_upload(client, answer, what)


def _give_up_upload(client: RegistryClient, answer: Answer, what: str) -> None:
    """Registries that cannot be told so forget it by themselves, within a day or a week."""
    place = answer.headers.get("Location")
    with contextlib.suppress(RegistryError):
        if place:
            client.ask("DELETE", _within(answer.url, place), what, action=PUSH)


def sizes(parts: Iterable[Part]) -> int:
    """Bytes of all parts together."""
    return sum(part.size for part in parts)


def _told(answer: Answer) -> str | None:
    digest = answer.headers.get("Docker-Content-Digest", "")
    return digest if DIGEST.fullmatch(digest) else None


def _manifest(reference: str) -> str:
    return f"manifests/{quote(reference, safe=':')}"


def _named(client: RegistryClient, reference: str) -> str:
    sign = "@" if ":" in reference else ":"
    return f"{client.repository}{sign}{reference}"
