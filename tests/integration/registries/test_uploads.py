"""Blobs and manifests through our own client, at a real registry."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipelines.registries.client import RegistryClient
from pipelines.registries.logins import Login
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError
from scripts.parts.registry import registry as running_registry
from tests.doubles.base import serve
from tests.parts.proxy import Proxy, proxy, refusal
from tests.parts.token_realm import TokenRealm

ADA = Login(username="ada", password="a password: with a colon")
OCI = "application/vnd.oci.image.manifest.v1+json"
DATA = b"some bytes " * 10_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
CONFIG = {"mediaType": "a/b", "digest": DIGEST, "size": len(DATA)}
EMPTY = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": CONFIG, "layers": []}).encode()


class Elsewhere:
    """Where a registry sends us; remembers which login came along."""

    def __init__(self) -> None:
        self.logins: list[str] = []
        self.app = Starlette(routes=[Route("/there", self._there, methods=["GET", "PUT"])])

    async def _there(self, request: Request) -> Response:
        self.logins.append(request.headers.get("Authorization", ""))
        await request.body()
        taken = request.method == "PUT"
        return PlainTextResponse("from elsewhere", status_code=201 if taken else 200)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Proxy]:
    """The way to an empty registry that wants a login."""
    with (
        running_registry(tmp_path, username=ADA.username, password=ADA.password) as registry,
        proxy(registry.address) as way,
    ):
        yield way


@pytest.fixture
def client(way: Proxy) -> Iterator[RegistryClient]:
    made = RegistryClient(Repository(host=way.address, path="acme/web"), login=ADA, insecure=True)
    yield made
    made.close()


def send(client: RegistryClient) -> None:
    client.put_blob(DIGEST, len(DATA), io.BytesIO(DATA), lambda: None)


def test_a_blob_that_was_sent_is_there_and_comes_back(client: RegistryClient) -> None:
    assert not client.has_blob(DIGEST)
    send(client)
    assert client.has_blob(DIGEST)
    with client.blob(DIGEST) as file:
        assert file.read(len(DATA) + 1) == DATA


def test_bytes_that_are_not_those_of_the_digest_are_not_taken(client: RegistryClient) -> None:
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        client.put_blob(DIGEST, 5, io.BytesIO(b"other"), lambda: None)
    assert not client.has_blob(DIGEST)


def test_a_manifest_is_kept_as_it_was_sent_and_told_by_its_digest(client: RegistryClient) -> None:
    send(client)
    client.put_manifest("1", EMPTY, OCI)
    assert client.manifest("1") == (EMPTY, OCI)
    digest = f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
    assert client.manifest(digest) == (EMPTY, OCI)


def test_a_manifest_of_what_is_not_there_is_refused(client: RegistryClient) -> None:
    with pytest.raises(RegistryError, match="BLOB_UNKNOWN") as raised:
        client.put_manifest("1", EMPTY, OCI)
    assert raised.value.refusal is Refusal.OTHER


def test_a_blob_is_taken_over_from_another_repository_without_its_bytes(
    client: RegistryClient, way: Proxy
) -> None:
    send(client)
    way.requests.clear()
    other = RegistryClient(Repository(host=way.address, path="acme/api"), login=ADA, insecure=True)
    try:
        assert other.mount_blob(DIGEST, Repository(host=way.address, path="acme/web"))
        assert other.has_blob(DIGEST)
    finally:
        other.close()
    assert not any(each.startswith(("PUT", "PATCH")) for each in way.requests)


def test_a_blob_that_cannot_be_taken_over_is_sent_on_the_upload_that_was_opened(
    client: RegistryClient, way: Proxy
) -> None:
    assert not client.mount_blob(DIGEST, Repository(host=way.address, path="acme/none"))
    send(client)
    assert client.has_blob(DIGEST)
    assert [each.split()[0] for each in way.requests].count("POST") == 1


def test_an_upload_that_nobody_wants_any_more_ends_at_the_next_piece(
    client: RegistryClient,
) -> None:
    class StoppedError(Exception):
        pass

    pieces = 0

    def check() -> None:
        nonlocal pieces
        pieces += 1
        if pieces > 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        client.put_blob(DIGEST, len(DATA), io.BytesIO(DATA), check)
    assert pieces == 2
    assert not client.has_blob(DIGEST)


def test_a_login_does_not_go_along_to_where_a_blob_lies(client: RegistryClient, way: Proxy) -> None:
    send(client)
    other = Elsewhere()
    with serve(other.app) as store:
        header = f"Location: {store}/there\r\n"
        way.answer("GET .*/blobs/", refusal(307, headers=header))
        with client.blob(DIGEST) as file:
            assert file.read(100) == b"from elsewhere"
    assert other.logins == [""]


def test_bytes_from_elsewhere_that_are_not_those_of_the_digest_are_refused(
    client: RegistryClient, way: Proxy
) -> None:
    send(client)
    assert client.small_blob(DIGEST) == DATA
    with serve(Elsewhere().app) as store:
        way.answer("GET .*/blobs/", refusal(307, headers=f"Location: {store}/there\r\n"))
        with pytest.raises(RegistryError, match="other bytes"):
            client.small_blob(DIGEST)


def test_a_login_does_not_go_along_to_where_an_upload_is_sent(
    client: RegistryClient, way: Proxy
) -> None:
    client.has_blob(DIGEST)
    other = Elsewhere()
    with serve(other.app) as store:
        header = f"Location: {store}/there?state=1\r\n"
        way.answer("POST .*/uploads/", refusal(202, headers=header))
        send(client)
    assert other.logins == [""]


def test_a_token_for_a_push_is_for_that_repository_and_the_one_that_is_taken_from(
    tmp_path: Path,
) -> None:
    realm = TokenRealm(tmp_path, username=ADA.username, password=ADA.password)
    with (
        serve(realm.app) as url,
        running_registry(tmp_path, auth=realm.settings(url)) as registry,
    ):
        name = Repository(host=registry.address, path="acme/web")
        own = RegistryClient(name, login=ADA, insecure=True)
        own.takes_from(Repository(host=registry.address, path="base/python"))
        try:
            send(own)
            assert own.has_blob(DIGEST)
        finally:
            own.close()
    assert realm.scopes == [["repository:acme/web:pull,push", "repository:base/python:pull"]]
