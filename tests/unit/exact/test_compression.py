from __future__ import annotations

import gzip
import hashlib
import random

import pytest

from pipelines.images.exact.compression import MEMBER, compressed, decompressed


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, MEMBER - 1, MEMBER, 2 * MEMBER + 7])
def test_any_reader_of_gzip_gets_back_what_was_compressed(size: int) -> None:
    packed = b"".join(compressed([noise(size)]))
    assert gzip.decompress(packed) == noise(size)
    assert b"".join(decompressed([packed[:5], packed[5:]])) == noise(size)


def test_how_the_input_is_cut_has_no_influence() -> None:
    data = noise(3 * MEMBER)
    whole = b"".join(compressed([data]))
    assert b"".join(compressed(data[i : i + 999] for i in range(0, len(data), 999))) == whole


def test_neither_name_nor_time_stands_in_it() -> None:
    flags, time = (packed := b"".join(compressed([b"x"])))[3], packed[4:8]
    assert (flags, time) == (0, bytes(4))


def test_the_bytes_are_those_of_the_locked_library() -> None:
    """Another digest here means other digests of everybody's images: count `NORMALISER` up."""
    words = [random.Random(n).randbytes(n % 13 + 1).hex().encode() for n in range(3000)]
    text = b" ".join(random.Random(2).choices(words, k=200_000))
    packed = b"".join(compressed([text]))
    assert hashlib.sha256(packed).hexdigest() == (
        "f3c144a048ca0d3af4583ca0b476e48adacf848654ea9f2e12eda5c0ab8ae324"
    )


def test_what_is_not_compressed_is_handed_on() -> None:
    assert b"".join(decompressed([b"plain", b" text"])) == b"plain text"
