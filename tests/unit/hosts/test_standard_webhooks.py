from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.hosts import signing
from server.hosts.port import SignatureInvalidError
from server.hosts.signing import Candidate

NOW = datetime(2026, 2, 12, 9, 14, 8, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = signing.key(SECRET)
OURS = Candidate(repository=None, key=KEY)
OTHER = Candidate(repository="acme/web", key=b"k" * 32)
BODY = b'{"test": 2432232314}'


def test_the_signature_is_the_one_of_the_published_example() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)

    headers = signing.sign(KEY, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, BODY)

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_is_signed_verifies() -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)

    assert signing.verify([OTHER, OURS], headers, BODY, NOW) is OURS


@given(body=st.binary(max_size=200), place=st.integers(0, 199), bit=st.integers(0, 7))
def test_one_changed_bit_of_the_body_is_refused(body: bytes, place: int, bit: int) -> None:
    body = body or b"x"
    headers = signing.sign(KEY, "msg_1", NOW, body)
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit

    with pytest.raises(SignatureInvalidError, match="fits no secret"):
        signing.verify([OURS], headers, bytes(changed), NOW)


def test_one_right_signature_among_several_is_enough() -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)
    old = signing.sign(b"o" * 32, "msg_1", NOW, BODY)["webhook-signature"]
    headers["webhook-signature"] = f"{old} v1a,AAAA {headers['webhook-signature']}"

    assert signing.verify([OURS], headers, BODY, NOW) is OURS


@pytest.mark.parametrize("off", [timedelta(seconds=301), timedelta(seconds=-301)])
def test_a_time_more_than_five_minutes_off_is_refused(off: timedelta) -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)

    with pytest.raises(SignatureInvalidError, match=r"301 s .*clocks"):
        signing.verify([OURS], headers, BODY, NOW + off)


@pytest.mark.parametrize("off", [timedelta(seconds=299), timedelta(seconds=-299)])
def test_a_time_within_five_minutes_is_taken(off: timedelta) -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)

    assert signing.verify([OURS], headers, BODY, NOW + off) is OURS


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("odd", [None, "", " ", "v1", "v1,", "é", "😀", "1.2", "9" * 5000, "a, a"])
def test_an_odd_header_is_refused_and_nothing_else(header: str, odd: str | None) -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)
    if odd is None:
        del headers[header]
    else:
        headers[header] = odd

    with pytest.raises(SignatureInvalidError):
        signing.verify([OURS], headers, BODY, NOW)


def test_a_signature_sent_twice_is_refused_though_both_are_right() -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)
    headers["webhook-signature"] = ", ".join([headers["webhook-signature"]] * 2)

    with pytest.raises(SignatureInvalidError, match="sent twice"):
        signing.verify([OURS], headers, BODY, NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_id_and_time_are_signed_too(name: str) -> None:
    headers = signing.sign(KEY, "msg_1", NOW, BODY)
    headers[name] += "1" if name == "webhook-id" else ""
    if name == "webhook-timestamp":
        headers[name] = str(int(headers[name]) + 1)

    with pytest.raises(SignatureInvalidError, match="fits no secret"):
        signing.verify([OURS], headers, BODY, NOW)


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "starts with"),
        ("whsec_", "has 0"),
        ("whsec_####", "base64"),
        ("whsec_é", "base64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "has 23"),
    ],
)
def test_a_malformed_secret_is_told_without_repeating_it(secret: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        signing.key(secret)

    assert secret.removeprefix("whsec_") == "" or secret not in str(caught.value)


def test_an_empty_secret_is_refused_because_anyone_could_sign() -> None:
    with pytest.raises(ValueError, match="acme/web is empty"):
        signing.candidates(b"host", {"acme/web": b""})


def test_two_repositories_cannot_share_a_secret() -> None:
    with pytest.raises(ValueError, match="acme/web and acme/api share"):
        signing.candidates(None, {"acme/web": b"same", "acme/api": b"same"})


def test_the_hosts_own_secret_comes_before_those_of_repositories() -> None:
    found = signing.candidates(b"host", {"acme/web": b"host", "acme/api": None})

    assert [candidate.repository for candidate in found] == [None, "acme/web"]


def test_a_candidate_never_shows_its_key() -> None:
    assert "k" * 32 not in f"{OTHER!r} {OTHER}"
