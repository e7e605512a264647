"""What a person is told where there is no good answer, and where their token never goes."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.client.answers import Me
from server.client.connection import Server
from server.client.errors import (
    ClientError,
    RefusedError,
    StrangeAnswerError,
    TrustError,
    UnreachableError,
)
from tests.parts.answering import answer, answering

TOKEN = "lading_" + "t" * 43
ME = json.dumps({"name": "ada", "version": "9.0"})


def asked(url: str) -> Me:
    with Server(url, TOKEN) as server:
        return server.get(Me, "/me")


def test_the_token_is_sent_to_the_server_that_it_is_for() -> None:
    with answering(answer(200, ME)) as there:
        assert asked(there.url).name == "ada"

    assert f"Authorization: Bearer {TOKEN}\r\n" in there.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_never_followed(status: int) -> None:
    with answering(answer(200, ME)) as elsewhere:
        moved = answer(status, more=f"Location: {elsewhere.url}/api/v1/me\r\n")
        with (
            answering(moved) as there,
            pytest.raises(RefusedError, match=f"sends us to {elsewhere.url}"),
        ):
            asked(there.url)

    assert elsewhere.requests == []


def test_no_login_is_taken_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    with answering(answer(200, ME)) as there:
        asked(there.url)

    assert f"Bearer {TOKEN}" in there.requests[0]


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(UnreachableError, match=r"does not answer .*refused"):
        asked(f"http://127.0.0.1:{port}")


def test_a_name_that_nobody_has_is_told() -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        asked("http://nowhere.invalid")


@pytest.mark.parametrize(
    "other",
    [
        answer(200, "<html>Welcome to nginx", kind="text/html"),
        answer(404, "<html>Not here", kind="text/html"),
        answer(200, ""),
        answer(403, "no", kind="text/plain"),
        answer(401, "who?", kind="text/html"),
        answer(200, "[" * 100_000),
    ],
)
def test_something_else_that_answers_is_told_as_such(other: bytes) -> None:
    with answering(other) as there, pytest.raises(StrangeAnswerError, match="no Lading API"):
        asked(there.url)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_its_server_is_told_as_passing(status: int) -> None:
    with (
        answering(answer(status, "<html>Bad gateway", kind="text/html")) as there,
        pytest.raises(UnreachableError, match=f"cannot answer now \\({status}\\)"),
    ):
        asked(there.url)


def test_a_server_of_another_version_is_told_with_both() -> None:
    with (
        answering(answer(200, '{"nom": "ada", "version": "9.0"}')) as there,
        pytest.raises(StrangeAnswerError, match=r"no usable `name`: the server is Lading 9\.0"),
    ):
        asked(there.url)


@pytest.mark.parametrize("body", ["[]", "12", '{"detail": 7}', "null"])
def test_a_problem_of_another_form_is_told_as_strange(body: str) -> None:
    with (
        answering(answer(409, body, kind="application/problem+json")) as there,
        pytest.raises(StrangeAnswerError),
    ):
        asked(there.url)


def test_an_answer_that_breaks_off_is_told_as_passing() -> None:
    with (
        answering(answer(200, ME)[:-5]) as there,
        pytest.raises(UnreachableError, match="does not answer"),
    ):
        asked(there.url)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Of an authority that nobody knows, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ours")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "ours.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return path, context


def test_a_certificate_of_an_unknown_authority_is_refused(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    _, context = certificate

    with (
        answering(answer(200, ME), context=context) as there,
        pytest.raises(TrustError, match=r"certificate of https://.* does not hold"),
    ):
        asked(there.url)

    assert there.requests == []


def test_an_authority_of_ones_own_can_be_named(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with answering(answer(200, ME), context=context) as there:
        assert asked(there.url).name == "ada"


def test_everything_that_can_go_wrong_is_one_kind_of_error() -> None:
    kinds = (RefusedError, StrangeAnswerError, TrustError, UnreachableError)

    assert all(issubclass(kind, ClientError) for kind in kinds)
