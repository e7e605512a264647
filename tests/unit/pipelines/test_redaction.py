from __future__ import annotations

import base64
import itertools
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.redaction import RedactedOutput, Redactor, StepSecrets

SECRET = "s3cr3t/pass word+\"ü'%&"
PEM = "-----BEGIN KEY-----\n" + "\n".join("MIIEvQIBADANBgkqhkiG9w0B" + c * 40 for c in "abc")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n*"), min_size=8, max_size=200)


def redacted(data: bytes, *secrets: str) -> bytes:
    return Redactor(secrets).redact(data)


def through(chunks: list[bytes], *secrets: str) -> bytes:
    out: list[bytes] = []
    output = RedactedOutput(Redactor(secrets), lambda _stream, data: out.append(data))
    for chunk in chunks:
        output.write(1, chunk)
    output.flush()
    return b"".join(out)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(
    "told",
    [
        SECRET.encode(),
        json.dumps(SECRET)[1:-1].encode(),
        json.dumps(SECRET, ensure_ascii=False)[1:-1].encode(),
        urllib.parse.quote(SECRET).encode(),
        urllib.parse.quote(SECRET, safe="").encode(),
        urllib.parse.quote_plus(SECRET).encode(),
        SECRET.encode().hex().encode(),
        SECRET.encode().hex().upper().encode(),
    ],
)
def test_a_secret_is_taken_out_in_every_spelling_with_its_length_kept(told: bytes) -> None:
    assert redacted(b"<" + told + b">", SECRET) == b"<" + b"*" * len(told) + b">"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_within_base64_is_taken_out_wherever_it_begins(
    before: str, encode: object
) -> None:
    assert callable(encode)
    told: bytes = encode(f"{before}{SECRET}:tail".encode())
    clean = redacted(told, SECRET)
    # At the borders up to a character on each side is its neighbours' too.
    assert clean.count(b"*") >= len(SECRET.encode()) * 8 // 6 - 1
    assert len(clean) == len(told)


def test_each_line_of_a_secret_of_several_lines_is_taken_out() -> None:
    log = "".join(f"  | {line}\n" for line in PEM.splitlines()).encode()
    clean = redacted(log, PEM)
    assert b"MIIE" not in clean
    assert b"BEGIN" not in clean
    assert clean.count(b"\n") == 4


def test_a_secret_of_several_lines_is_taken_out_of_json_and_base64() -> None:
    assert b"MIIE" not in redacted(json.dumps({"key": PEM}).encode(), PEM)
    told = base64.b64encode(PEM.encode())
    assert redacted(told, PEM).count(b"*") >= len(told) - 4


def test_secrets_that_overlap_are_both_taken_out() -> None:
    assert redacted(b"_abcdefghijkl_", "abcdefgh", "efghijkl") == b"_************_"
    for place in range(14):
        chunks = cut(b"_abcdefghijkl_", [place])
        assert through(chunks, "abcdefgh", "efghijkl") == b"_************_"


def test_what_is_too_short_to_be_told_from_words_stays() -> None:
    assert redacted(b"a short one", "short") == b"a short one"


@given(TEXT, st.binary(max_size=50), st.binary(max_size=50), st.lists(st.integers(0, 1000)))
def test_no_border_between_chunks_lets_a_secret_through(
    secret: str, before: bytes, after: bytes, places: list[int]
) -> None:
    data = before + secret.encode() + after
    whole = redacted(data, secret)
    assert through(cut(data, places), secret) == whole
    assert secret.encode() not in whole
    assert len(whole) == len(data)


@given(st.lists(st.binary(max_size=60)), st.lists(TEXT, max_size=3))
def test_what_holds_no_secret_comes_out_as_it_went_in(
    chunks: list[bytes], secrets: list[str]
) -> None:
    data = b"".join(chunks)
    clean = through(chunks, *secrets)
    assert len(clean) == len(data)
    if b"*" not in clean:
        assert clean == data


def test_streams_do_not_mix() -> None:
    out: list[tuple[int, bytes]] = []
    output = RedactedOutput(Redactor(["secretsecret"]), lambda *piece: out.append(piece))
    output.write(1, b"secret")
    output.write(2, b"other\n")
    output.write(1, b"secret\n")
    assert out == [(2, b"other\n"), (1, b"************\n")]


def test_only_what_may_begin_a_secret_is_kept_back() -> None:
    out: list[bytes] = []
    output = RedactedOutput(Redactor(["secretsecret"]), lambda _, data: out.append(data))
    output.write(1, b"progress 50% se")
    assert out == [b"progress 50% "]


def test_values_are_not_in_the_repr_of_what_steps_get() -> None:
    given = StepSecrets(values={"test.unit": {"TOKEN": SECRET}})
    assert SECRET not in repr(given)
    assert SECRET not in str(given)
    assert given.all == {SECRET}
