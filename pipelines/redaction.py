"""Secrets out of output, across the borders of chunks and in the encodings that tools print.

A seat belt, not a wall: a step that means to tell a secret can (character by character, rot13,
with colours in between). It catches what happens by accident: the secret itself, each line of one
of several lines, as JSON and shells escape it, in URLs, in base64 at any alignment, and as hex.

What is taken out is replaced by as many `*`, byte for byte. So the stored bytes can still be
counted against a container's own output after a restart; that the length shows is the price.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick

from pipelines.values import Value

LEAST = 8
"""Bytes; what is shorter would take ordinary words out of the output."""
_PIECE = 64
"""Bytes of a pattern: longer texts are looked for piece by piece, so that little is held back."""

Write = Callable[[int, bytes], None]


class StepSecrets(Value):
    """What the steps of one attempt get."""

    values: dict[str, dict[str, str]] = {}
    """By step (`test.unit`) or a step's service (`test.unit/db`), what holds secrets there."""
    refused: dict[str, str] = {}
    """By step, the sentence why it cannot have what it names."""

    def __repr__(self) -> str:
        """Without the values: they end up in logs."""
        return f"StepSecrets(steps={sorted(self.values)}, refused={self.refused!r})"

    __str__ = __repr__

    @property
    def all(self) -> frozenset[str]:
        """Every value: what one step gets, another may find in the workspace and print."""
        return frozenset(value for step in self.values.values() for value in step.values())


class Redactor:
    """Finds a set of secrets in bytes; made once, and shared by any number of streams."""

    def __init__(self, secrets: Iterable[str]) -> None:
        patterns = {piece for secret in secrets for piece in _patterns(secret)}
        self._finder = BytesAhoCorasick(sorted(patterns)) if patterns else None
        self._prefixes = {
            pattern[:length] for pattern in patterns for length in range(1, len(pattern))
        }
        self._longest = max(map(len, patterns), default=0)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look for."""
        return self._finder is None

    def redact(self, data: bytes) -> bytes:
        """The same bytes with `*` in place of each secret; the length stays."""
        if self._finder is None:
            return data
        found = self._finder.find_matches_as_indexes(data, overlapping=True)
        if not found:
            return data
        out = bytearray(data)
        for _, start, end in found:
            out[start:end] = b"*" * (end - start)
        return bytes(out)

    def cleaned(self, text: str) -> str:
        """The same for a text, like a sentence that tells how a step ended."""
        return self.redact(text.encode(errors="replace")).decode(errors="replace")

    def begun(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of a secret."""
        most = min(self._longest - 1, len(data))
        for length in range(most, 0, -1):
            if data[-length:] in self._prefixes:
                return length
        return 0


class RedactedOutput:
    """An output in whose streams no secret is left; each stream is looked at apart.

    The bytes at a stream's end that may begin a secret are kept back until more comes. `flush`
    gives them out; where the process dies before, they are not stored, and are read again.
    """

    def __init__(self, redactor: Redactor, write: Write) -> None:
        self._redactor = redactor
        self._write = write
        self._kept: dict[int, _Kept] = {}

    def write(self, stream: int, data: bytes) -> None:
        """See `pipelines.executor.Output.write`."""
        if self._redactor.idle:
            self._write(stream, data)
            return
        kept = self._kept.get(stream, _NOTHING)
        raw = kept.raw + data
        clean = kept.over(self._redactor.redact(raw))
        held = self._redactor.begun(raw)
        out = len(raw) - held
        self._kept[stream] = _Kept(raw[out:], clean[out:])
        if out:
            self._write(stream, clean[:out])

    def flush(self) -> None:
        """Give out what was kept back; the streams have ended."""
        for stream, kept in sorted(self._kept.items()):
            if kept.clean:
                self._write(stream, kept.clean)
        self._kept.clear()


class _Kept(NamedTuple):
    """The end of a stream that may begin a secret: as it came, and without those it ended."""

    raw: bytes
    clean: bytes

    def over(self, redacted: bytes) -> bytes:
        """Redacted bytes that start with these, with what was taken out of these before."""
        if self.raw == self.clean:
            return redacted
        end = len(self.raw)
        gone = bytes(
            out if was == now else _STAR
            for out, was, now in zip(redacted[:end], self.raw, self.clean, strict=True)
        )
        return gone + redacted[end:]


_NOTHING = _Kept(b"", b"")
_STAR = ord("*")


def _patterns(secret: str) -> Iterator[bytes]:
    """Every text that stands for a secret, in pieces."""
    raw = secret.strip("\r\n").encode()
    for line in {raw, *(line.strip() for line in raw.splitlines())}:
        if len(line) < LEAST:
            continue
        for text in {line, *_escaped(line), line.hex().encode(), line.hex().upper().encode()}:
            if b"\n" not in text:
                yield from _pieces(text)
    if len(raw) >= LEAST:
        yield from (piece for text in _base64(raw) for piece in _pieces(text))


def _escaped(line: bytes) -> Iterator[bytes]:
    text = line.decode()
    for escaped in (
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        quote(text, safe=""),
        quote(text),
        quote_plus(text),
        text.replace("'", "'\"'\"'"),
        text.replace("'", "'\\''"),
    ):
        yield escaped.encode()


def _base64(raw: bytes) -> Iterator[bytes]:
    """The secret in base64 wherever it begins in the text, without what its neighbours add to.

    https://www.rfc-editor.org/rfc/rfc4648#section-4
    """
    for offset in range(3):
        bits_before, bits_after = offset * 8, (offset + len(raw)) * 8
        first, last = -(-bits_before // 6), bits_after // 6
        encoded = base64.b64encode(b"\0" * offset + raw)[first:last]
        if len(encoded) >= LEAST:
            yield encoded
            yield encoded.translate(bytes.maketrans(b"+/", b"-_"))


def _pieces(text: bytes) -> Iterator[bytes]:
    """A long text in parts of 64 bytes, the last one a little longer."""
    while len(text) >= 2 * _PIECE:
        yield text[:_PIECE]
        text = text[_PIECE:]
    yield text
