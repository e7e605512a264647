"""Secrets: what they are called, whose they are and where they may go; never what they hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from pipelines.definition.fields import MAX_PATTERN
from pipelines.events import EventKind
from server.api.answers import json_answer
from server.api.models import Answer, Name, Page, Query, RepositoryName
from server.api.routing import Api, Asked, Endpoint
from server.secrets import MAX_BYTES, is_hidden
from server.store.rows import Bounds, SecretRow

BODY_LIMIT = 8 * MAX_BYTES
"""JSON may need six bytes for one."""
Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN)]
Host = Annotated[str, Field(max_length=100)]
_MANY = 50


class Secret(Answer):
    """A secret without what it holds."""

    name: str
    repository: RepositoryName | None = Field(description="Whose it is; null: the server's own.")
    events: list[EventKind] = Field(description="Only for these; empty: for all.")
    branches: list[str] = Field(description="Only for pushes to such branches; empty: for all.")
    steps: list[str] = Field(description="Only for such steps; empty: for all.")
    created_at: AwareDatetime
    changed_at: AwareDatetime
    changed_by: str = Field(description="A token's name, or `the command line`.")


class StoredSecret(Secret):
    """A secret just stored."""

    hidden: bool = Field(
        description="Whether it is taken out of output: it is too short for that, else."
    )


class RemovedSecret(Answer):
    """A secret that is no more."""

    name: str


class NewSecret(BaseModel):
    """What a secret holds, whose it is, and where it may go."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: SecretStr = Field(description=f"Text, at most {MAX_BYTES} bytes; never given back.")
    repository: Name | None = Field(
        None, description="`owner/name`; without it, it is the server's, for every repository."
    )
    host: Host | None = Field(None, description="Where two hosts have that repository.")
    events: Annotated[list[EventKind], Field(max_length=_MANY)] = Field(
        [], description="Only for these events."
    )
    branches: Annotated[list[Pattern], Field(max_length=_MANY)] = Field(
        [], description="Only for pushes to branches of these patterns."
    )
    steps: Annotated[list[Pattern], Field(max_length=_MANY)] = Field(
        [], description="Only for steps of these patterns, like `push.*`."
    )


class SecretsQuery(Query):
    """Which secrets."""

    repository: Name | None = Field(None, description="Only those of this repository.")


class OwnerQuery(Query):
    """Whose secret."""

    repository: Name | None = Field(None, description="`owner/name`; without it, the server's.")
    host: Host | None = Field(None, description="Where two hosts have that repository.")


async def list_secrets(api: Api, asked: Asked) -> Response:
    """Every secret: the server's first."""
    wanted = asked.query_as(SecretsQuery).repository
    rows = [row for row in await api.secrets.all() if wanted in (None, row.full_name)]
    return json_answer(Page[Secret](items=[_secret(row) for row in rows], next=None))


async def put_secret(api: Api, asked: Asked) -> Response:
    """Store a secret."""
    new = asked.body_as(NewSecret)
    value = new.value.get_secret_value()
    row = await api.secrets.put(
        repository=new.repository,
        host=new.host,
        name=asked.text("secret"),
        value=value,
        bounds=Bounds(
            events=tuple(new.events), branches=tuple(new.branches), steps=tuple(new.steps)
        ),
        by=asked.by,
    )
    known = _secret(row)
    kept = {name: getattr(known, name) for name in Secret.model_fields}
    return json_answer(StoredSecret(**kept, hidden=is_hidden(value)))


async def remove_secret(api: Api, asked: Asked) -> Response:
    """Remove a secret."""
    owner = asked.query_as(OwnerQuery)
    name = asked.text("secret")
    await api.secrets.remove(repository=owner.repository, host=owner.host, name=name, by=asked.by)
    return json_answer(RemovedSecret(name=name))


def _secret(row: SecretRow) -> Secret:
    owner = None
    if row.host is not None and row.full_name is not None:
        owner = RepositoryName(host=row.host, name=row.full_name)
    return Secret(
        name=row.name,
        repository=owner,
        events=list(row.events),
        branches=list(row.branches),
        steps=list(row.steps),
        created_at=row.created_at,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/secrets",
        name="listSecrets",
        summary="Secrets by name, with where they may go; what they hold is given to nobody",
        handler=list_secrets,
        query=SecretsQuery,
        answer=Page[Secret],
    ),
    Endpoint(
        method="PUT",
        path="/secrets/{secret}",
        name="putSecret",
        summary="Store a secret, in place of the one of that name and owner",
        handler=put_secret,
        body=NewSecret,
        body_limit=BODY_LIMIT,
        answer=StoredSecret,
        errors=(404, 422),
    ),
    Endpoint(
        method="DELETE",
        path="/secrets/{secret}",
        name="removeSecret",
        summary="Remove a secret: steps that name it cannot run any more",
        handler=remove_secret,
        query=OwnerQuery,
        answer=RemovedSecret,
        errors=(404,),
    ),
)
