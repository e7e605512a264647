"""Our own client, at real registries."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.registries import tags
from pipelines.registries.client import RegistryClient
from pipelines.registries.logins import Login
from pipelines.registries.manifests import Manifest
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError
from scripts.parts.registry import registry as running_registry
from tests.doubles.base import serve
from tests.parts.proxy import Proxy, proxy, refusal
from tests.parts.token_realm import TokenRealm

ADA = Login(username="ada", password="a password: with a colon")
CONFIG = b'{"architecture": "amd64"}'
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a registry that holds one image, `acme/web:1`."""
    folder = tmp_path_factory.mktemp("images")
    with running_registry(folder) as registry:
        config = put_blob(registry.address, CONFIG)
        layer = put_blob(registry.address, b"a layer")
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        request(registry.address, "PUT", "manifests/1", json.dumps(manifest).encode(), MANIFEST)
    return folder


def put_blob(address: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = request(address, "POST", "blobs/uploads/")["Location"]
    sign = "&" if "?" in place else "?"
    request("", "PUT", f"{place}{sign}digest={digest}", data, "application/octet-stream")
    return {"mediaType": "application/octet-stream", "size": len(data), "digest": digest}


def request(
    address: str, method: str, path: str, data: bytes = b"", kind: str = ""
) -> dict[str, str]:
    url = path if path.startswith("http") else f"http://{address}/v2/acme/web/{path}"
    asked = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return dict(answer.headers)


@pytest.fixture
def realm(images: Path) -> TokenRealm:
    return TokenRealm(images, username=ADA.username, password=ADA.password)


@pytest.fixture
def guarded(images: Path, realm: TokenRealm) -> Iterator[str]:
    """The registry, which wants tokens."""
    with (
        serve(realm.app) as url,
        running_registry(images, auth=realm.settings(url)) as registry,
    ):
        yield registry.address


@pytest.fixture
def way(images: Path) -> Iterator[Proxy]:
    """The way to the registry, which wants a login."""
    with (
        running_registry(images, username=ADA.username, password=ADA.password) as registry,
        proxy(registry.address) as way,
    ):
        yield way


def asking(
    address: str, tag: str = "1", *, login: Login | None = ADA, path: str = "acme/web"
) -> Manifest | None:
    repository = Repository(host=address, path=path)
    client = RegistryClient(repository, login=login, insecure=True)
    try:
        return client.resolve(tag)
    finally:
        client.close()


def refused(address: str, *, login: Login | None = ADA) -> RegistryError:
    with pytest.raises(RegistryError) as raised:
        asking(address, login=login)
    return raised.value


def test_a_tag_is_resolved_with_a_login(way: Proxy) -> None:
    found = asking(way.address)

    assert found is not None
    assert found.config == f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    assert found.is_of(str(found.config))
    assert found.is_of(found.digest)
    assert not found.is_of("sha256:other")
    assert found == asking(way.address, found.digest)


@pytest.mark.parametrize(("tag", "path"), [("2", "acme/web"), ("1", "acme/none")])
def test_what_is_not_there_is_nothing(way: Proxy, tag: str, path: str) -> None:
    assert asking(way.address, tag, path=path) is None


def test_a_tag_is_resolved_with_a_token_for_that_repository_alone(
    guarded: str, realm: TokenRealm
) -> None:
    assert asking(guarded) is not None
    assert [each["scope"] for each in realm.asked] == ["repository:acme/web:pull"]


def test_a_token_serves_until_it_is_refused_and_then_there_is_a_new_one(
    guarded: str, realm: TokenRealm
) -> None:
    repository = Repository(host=guarded, path="acme/web")
    client = RegistryClient(repository, login=ADA, insecure=True)
    try:
        assert client.resolve("1") == client.resolve("1")
        assert len(realm.asked) == 1
        realm.lifetime = timedelta(minutes=-5)  # beyond the leeway that the registry gives
        client._authorizations["pull"] = f"Bearer {realm.token('repository:acme/web:pull')}"
        realm.lifetime = timedelta(minutes=5)
        assert client.resolve("1") is not None
        assert len(realm.asked) == 2
    finally:
        client.close()


@pytest.mark.parametrize("login", [None, Login(username="ada", password="wrong")])
def test_a_login_that_is_not_taken_is_denied_and_its_password_not_told(
    way: Proxy, guarded: str, login: Login | None
) -> None:
    for address in (way.address, guarded):
        error = refused(address, login=login)
        assert error.refusal is Refusal.DENIED
        assert f'registries."{address}" in config.toml' in str(error)
        assert "wrong" not in str(error)


def test_a_registry_that_wants_to_be_left_alone_says_for_how_long(way: Proxy) -> None:
    way.answer("/manifests/", refusal(429, headers="Retry-After: 17\r\n"))

    error = refused(way.address)

    assert (error.refusal, error.retry_after) == (Refusal.UNAVAILABLE, 17.0)
    assert "HTTP 429" in str(error)


def test_a_registry_that_is_down_is_unavailable(way: Proxy) -> None:
    way.go_down()

    assert refused(way.address).refusal is Refusal.UNAVAILABLE


def test_a_redirect_is_not_followed_and_no_login_goes_along(way: Proxy) -> None:
    with proxy("127.0.0.1:9") as elsewhere:
        header = f"Location: http://{elsewhere.address}/v2/acme/web/manifests/1\r\n"
        way.answer("/manifests/", refusal(307, headers=header))

        error = refused(way.address)

        assert elsewhere.requests == []
    assert error.refusal is Refusal.OTHER
    assert "where we do not go" in str(error)


def test_a_login_does_not_go_to_a_realm_elsewhere(way: Proxy) -> None:
    header = 'WWW-Authenticate: Bearer realm="https://elsewhere.example/token"\r\n'
    way.answer("/manifests/", refusal(401, headers=header))

    assert "no login goes there" in str(refused(way.address))


def test_bytes_that_are_not_those_of_the_digest_are_refused(way: Proxy) -> None:
    header = f"Docker-Content-Digest: sha256:{'0' * 64}\r\n"
    way.answer("/manifests/", refusal(200, headers=header))

    assert "something between changes them" in str(refused(way.address))


def test_an_answer_that_is_too_large_is_not_read(
    way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.registries.transport.MAX_ANSWER", 100)
    way.answer("/manifests/", refusal(200, body="x" * 1000))

    assert refused(way.address).refusal is Refusal.UNAVAILABLE


def test_nobody_elses_login_is_read_from_the_home_folder(
    way: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f'machine 127.0.0.1 login {ADA.username} password "{ADA.password}"\n')
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    assert refused(way.address, login=None).refusal is Refusal.DENIED


def test_a_tag_is_moved_with_a_token_that_may_push_and_looked_at_with_one_that_may_not(
    guarded: str, realm: TokenRealm
) -> None:
    repository = Repository(host=guarded, path="acme/web")
    client = RegistryClient(repository, login=ADA, insecure=True)
    try:
        fetched = tags.fetch(client, "1")
        assert fetched is not None
        tags.put(client, fetched, "moved")
        assert tags.digest_of(client, "moved") == fetched.digest
    finally:
        client.close()
    assert [each["scope"] for each in realm.asked] == [
        "repository:acme/web:pull",
        "repository:acme/web:pull,push",
    ]
