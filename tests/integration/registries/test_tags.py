"""Tags and manifests of a real registry that wants a login."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.registries import tags
from pipelines.registries.client import RegistryClient
from pipelines.registries.contents import Part, PartKind
from pipelines.registries.logins import Login
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError
from scripts.parts.registry import Registry
from tests.doubles.base import serve
from tests.integration.registries.hub import RateLimited
from tests.parts.images import put_image, put_index, request
from tests.parts.proxy import Proxy, proxy, refusal


@pytest.fixture
def way(registry: Registry) -> Iterator[Proxy]:
    with proxy(registry.address) as way:
        yield way


def client_for(
    registry: Registry, path: str, *, address: str | None = None, password: str | None = None
) -> RegistryClient:
    login = Login(username=registry.username or "", password=password or registry.password or "")
    repository = Repository(host=address or registry.address, path=path)
    return RegistryClient(repository, login=login, insecure=True)


@pytest.fixture
def web(registry: Registry, request: pytest.FixtureRequest) -> Iterator[RegistryClient]:
    """A repository of the test's own."""
    client = client_for(registry, f"acme/{abs(hash(request.node.name))}")
    yield client
    client.close()


def test_every_tag_is_listed_over_the_borders_of_pages(registry: Registry, way: Proxy) -> None:
    put_image(registry, "acme/pages", "c", "d")
    client = client_for(registry, "acme/pages", address=way.address)
    for link in ("/v2/acme/pages/tags/list?last=a", "list?last=b"):
        header = f'Link: <{link}>; rel="next"\r\n'
        tag = "a" if link.startswith("/") else "b"
        way.answer("/tags/list", refusal(200, headers=header, body=f'{{"tags": ["{tag}"]}}'))

    assert sorted(tags.tags(client)) == ["a", "b", "c", "d"]
    assert [line for line in way.requests if "tags/list" in line][1:] == [
        "GET /v2/acme/pages/tags/list?last=a",
        "GET /v2/acme/pages/tags/list?last=b",
    ]


def test_a_repository_that_is_not_there_has_no_tags(registry: Registry) -> None:
    assert tags.tags(client_for(registry, "acme/none")) == []


def test_a_next_page_elsewhere_is_not_gone_to(registry: Registry, way: Proxy) -> None:
    client = client_for(registry, "acme/web", address=way.address)
    header = 'Link: <http://elsewhere.example/v2/acme/web/tags/list>; rel="next"\r\n'
    way.answer("/tags/list", refusal(200, headers=header, body='{"tags": ["a"]}'))

    with pytest.raises(RegistryError, match="no login goes there"):
        tags.tags(client)


def test_a_tag_is_moved_with_the_very_bytes_and_keeps_its_digest(
    registry: Registry, web: RegistryClient
) -> None:
    old = put_image(registry, web.repository.path, "1", content="old")
    new = put_image(registry, web.repository.path, "2", "production", content="new")
    fetched = tags.fetch(web, old.digest)
    assert fetched is not None

    tags.put(web, fetched, "production")

    assert tags.digest_of(web, "production") == old.digest
    assert tags.digest_of(web, "2") == new.digest


def test_a_move_is_two_requests_whatever_is_in_the_image(registry: Registry, way: Proxy) -> None:
    client = client_for(registry, "acme/two", address=way.address)
    image = put_image(registry, "acme/two", "1")
    tags.tags(client)
    way.requests.clear()

    fetched = tags.fetch(client, image.digest)
    assert fetched is not None
    tags.put(client, fetched, "production")

    assert way.requests == [
        f"GET /v2/acme/two/manifests/{image.digest}",
        "PUT /v2/acme/two/manifests/production",
    ]


def test_what_the_registry_keeps_otherwise_is_an_error(registry: Registry, way: Proxy) -> None:
    client = client_for(registry, "acme/web", address=way.address)
    image = put_image(registry, "acme/web", "1")
    fetched = tags.fetch(client, image.digest)
    assert fetched is not None
    header = f"Docker-Content-Digest: sha256:{'0' * 64}\r\n"
    way.answer("PUT .*/manifests/production", refusal(201, headers=header))

    with pytest.raises(RegistryError, match="leads to sha256:0000"):
        tags.put(client, fetched, "production")


def test_bytes_that_are_not_the_digests_own_are_refused(registry: Registry, way: Proxy) -> None:
    client = client_for(registry, "acme/web", address=way.address)
    way.answer("GET .*/manifests/", refusal(200, body='{"other": true}'))

    with pytest.raises(RegistryError, match="something between changes them"):
        tags.fetch(client, f"sha256:{'1' * 64}")


def test_an_index_is_known_down_to_the_layers(registry: Registry, web: RegistryClient) -> None:
    path = web.repository.path
    one, two = (put_image(registry, path, content=text) for text in ("one", "two"))
    fetched = tags.fetch(web, put_index(registry, path, "1", one, two))
    assert fetched is not None

    parts, gone = tags.contents(web, fetched)

    assert gone == []
    assert {part.digest for part in parts} == {
        *(one.digest, one.config, *one.layers),
        *(two.digest, two.config, *two.layers),
    }
    assert tags.missing(web, parts) == []


def test_a_blob_that_was_deleted_is_missed_by_name(registry: Registry, web: RegistryClient) -> None:
    path = web.repository.path
    image = put_image(registry, path, "1", content="soon gone")
    request(registry, "DELETE", f"{path}/blobs/{image.layers[0]}")
    fetched = tags.fetch(web, "1")
    assert fetched is not None

    parts, _ = tags.contents(web, fetched)

    assert tags.missing(web, parts) == [
        Part(kind=PartKind.LAYER, digest=image.layers[0], size=len("soon gone"))
    ]


def test_an_image_is_copied_to_another_repository_without_its_bytes(
    registry: Registry, way: Proxy
) -> None:
    image = put_image(registry, "acme/from", "1", content="copied")
    source = client_for(registry, "acme/from", address=way.address)
    target = client_for(registry, "acme/to", address=way.address)

    tags.copy(source, target, image.digest, "1")

    assert tags.digest_of(target, "1") == image.digest
    fetched = tags.fetch(target, "1")
    assert fetched is not None
    assert tags.missing(target, fetched.parts) == []
    assert not [
        line for line in way.requests if line.startswith(("PATCH", "PUT /v2/acme/to/blobs"))
    ]


def test_a_copy_does_not_write_a_version_twice(registry: Registry) -> None:
    image = put_image(registry, "acme/from", "v1.0.0", content="one")
    other = put_image(registry, "acme/taken", "v1.0.0", content="another")
    source, target = (client_for(registry, path) for path in ("acme/from", "acme/taken"))

    with pytest.raises(RegistryError, match="written once"):
        tags.copy(source, target, image.digest, "v1.0.0")

    assert tags.digest_of(target, "v1.0.0") == other.digest


def test_a_tag_is_deleted(registry: Registry, web: RegistryClient) -> None:
    image = put_image(registry, web.repository.path, "1")

    assert tags.delete(web, image.digest)
    assert tags.digest_of(web, "1") is None
    assert not tags.delete(web, image.digest)


def test_a_permission_to_push_is_tried_and_leaves_nothing(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = client_for(registry, "acme/probe")

    tags.check_push(client)

    folder = next(tmp_path_factory.getbasetemp().glob("registry*"))
    # This registry keeps a few bytes of an upload that was given up, for a week; no content.
    assert not list(folder.glob("images/**/acme/probe/_uploads/*/data"))
    assert not list(folder.glob("images/**/acme/probe/_manifests/*"))
    assert tags.tags(client) == []


def test_a_wrong_login_may_not_push(registry: Registry) -> None:
    with pytest.raises(RegistryError) as raised:
        tags.check_push(client_for(registry, "acme/probe", password="wrong"))
    assert raised.value.refusal is Refusal.DENIED
    assert "wrong" not in str(raised.value)


def test_a_login_that_is_refused_is_renewed_and_the_question_asked_again(
    registry: Registry,
) -> None:
    renewed: list[Login] = []

    def renew() -> Login:
        renewed.append(Login(username=registry.username or "", password=registry.password or ""))
        return renewed[-1]

    client = RegistryClient(
        Repository(host=registry.address, path="acme/web"),
        login=Login(username="lading", password="ended"),
        insecure=True,
        renew=renew,
    )

    tags.check_push(client)

    assert len(renewed) == 1


def test_a_login_that_ended_with_a_403_is_renewed(registry: Registry, way: Proxy) -> None:
    """Amazon's registry says 403 to a token that is over."""
    put_image(registry, "acme/web", "1")
    good = Login(username=registry.username or "", password=registry.password or "")
    client = RegistryClient(
        Repository(host=way.address, path="acme/web"),
        login=good,
        insecure=True,
        renew=lambda: good,
    )
    way.answer("HEAD .*/manifests/1", refusal(403))

    assert tags.digest_of(client, "1") is not None


def test_the_rate_limit_that_docker_hub_tells_is_kept_and_a_head_does_not_count() -> None:
    hub = RateLimited(limit=100)
    with serve(hub.app) as url:
        client = RegistryClient(
            Repository(host=url.removeprefix("http://"), path="acme/web"),
            login=None,
            insecure=True,
        )
        tags.fetch(client, "latest")
        tags.digest_of(client, "latest")

    assert client.limit is not None
    assert client.limit.sentence == "99 of 100 pulls left in 6 h"


def test_too_many_pulls_are_unavailable_with_the_time_to_wait() -> None:
    hub = RateLimited(limit=0)
    with serve(hub.app) as url:
        client = RegistryClient(
            Repository(host=url.removeprefix("http://"), path="acme/web"),
            login=None,
            insecure=True,
        )
        with pytest.raises(RegistryError) as raised:
            tags.fetch(client, "latest")

    assert (raised.value.refusal, raised.value.retry_after) == (Refusal.UNAVAILABLE, 60.0)
