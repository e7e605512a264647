"""Registries over the API: a login goes in, and never comes out again."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from server.api.answers import json_answer
from server.api.models import Answer, Page
from server.api.routing import Api, Asked, Endpoint
from server.registries import Login, Place
from server.registries.accounts import Source


class Limit(Answer):
    """How often a registry may be asked, as it told last."""

    limit: int = Field(description="Pulls in a window.")
    remaining: int
    window_seconds: int | None


class Registry(Answer):
    """A registry that a login is known for, without the login."""

    host: str = Field(description="As it stands in front of an image's name.")
    kind: str
    source: Source = Field(description="Where the login stands; config.toml wins.")
    create_repositories: bool
    insecure: bool
    probe: str | None = Field(description="The repository at which the login is tried.")
    changed_by: str | None
    changed_at: AwareDatetime | None
    checked_at: AwareDatetime | None = Field(description="When the login was tried last.")
    fault: str | None = Field(description="What came of that; null: the registry took it.")
    rate_limit: Limit | None


class NewRegistry(BaseModel):
    """A login for a registry."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    host: str = Field(max_length=255, description="`ghcr.io`, `registry.example.com:5000`.")
    kind: str | None = Field(
        None,
        max_length=30,
        description="docker-hub, ecr, ghcr, gitlab, harbor or oci; null: as the host tells.",
    )
    username: str = Field("", max_length=4096, description="For Amazon ECR an access key's id.")
    password: SecretStr = Field(
        SecretStr(""), max_length=16384, description="For Amazon ECR the access key's secret."
    )
    create_repositories: bool = Field(
        default=False, description="Whether repositories that a push misses are made (Amazon ECR)."
    )
    insecure: bool = Field(default=False, description="Whether it may be spoken to without TLS.")
    probe: str | None = Field(
        None, max_length=255, description="A repository it may push to: `acme/web`."
    )
    check: bool = Field(default=True, description="Whether the permission to push is tried first.")


class Said(Answer):
    """What came of it, in words."""

    message: str


async def list_registries(api: Api, asked: Asked) -> Response:  # noqa: ARG001 - a handler's shape
    """Every registry, by host."""
    places = await api.registries.places()
    return json_answer(Page[Registry](items=[_view(one) for one in places.values()], next=None))


async def add_registry(api: Api, asked: Asked) -> Response:
    """Store a login."""
    new = asked.body_as(NewRegistry)
    login = Login(
        host=new.host,
        kind=new.kind,
        username=new.username,
        password=new.password.get_secret_value(),
        creates=new.create_repositories,
        insecure=new.insecure,
        probe=new.probe,
    )
    place = await api.registries.add(login, by=asked.by, guarded=True, check=new.check)
    return json_answer(_view(place), status=201)


async def test_registry(api: Api, asked: Asked) -> Response:
    """Try a login."""
    return json_answer(Said(message=await api.registries.test(asked.text("registry"))))


async def remove_registry(api: Api, asked: Asked) -> Response:
    """Forget a login."""
    host = asked.text("registry")
    await api.registries.remove(host)
    return json_answer(Said(message=f"the login for {host} is forgotten"))


def _view(place: Place) -> Registry:
    limit = place.limit
    return Registry(
        host=place.host,
        kind=place.kind,
        source=place.source,
        create_repositories=place.account.create,
        insecure=place.insecure,
        probe=place.probe,
        changed_by=place.changed_by,
        changed_at=place.changed_at,
        checked_at=place.checked_at,
        fault=place.fault,
        rate_limit=None
        if limit is None
        else Limit(limit=limit.limit, remaining=limit.remaining, window_seconds=limit.window),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/registries",
        name="listRegistries",
        summary="Registries that a login is known for; logins are never shown",
        handler=list_registries,
        answer=Page[Registry],
    ),
    Endpoint(
        method="POST",
        path="/registries",
        name="addRegistry",
        summary="Store a registry's login, once the registry has taken it",
        handler=add_registry,
        body=NewRegistry,
        answer=Registry,
        status=201,
        errors=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/registries/{registry}/test",
        name="testRegistry",
        summary="Try a registry's login, without leaving anything behind",
        handler=test_registry,
        answer=Said,
        errors=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/registries/{registry}/remove",
        name="removeRegistry",
        summary="Forget a registry's login",
        handler=remove_registry,
        answer=Said,
        errors=(404, 409, 422),
    ),
)
