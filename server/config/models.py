"""Every setting, with what it means, its bounds and its default."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from pipelines.durations import parse_duration, parse_size

_SECRET_CHARACTERS = 16
_KEY_BYTES = range(24, 65)
_MIB = 2**20
_SECRET_EXAMPLE = "an-example-that-everyone-knows"  # noqa: S105 - shown, and refused
_KEY_EXAMPLE = "whsec_" + base64.b64encode(b"an example that everyone knows  ").decode()


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def fault(wrong: str, right: str) -> PydanticCustomError:
    """An error of a validator, in the two halves that people read."""
    return PydanticCustomError("setting", "{wrong}; {right}", {"wrong": wrong, "right": right})


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise fault(f"is {value!r}", "give a whole address, like https://ci.example.com")
    return value.rstrip("/")


def _no_example(value: SecretStr) -> SecretStr:
    if value.get_secret_value() in {_SECRET_EXAMPLE, _KEY_EXAMPLE}:
        raise fault("is the documentation's example, which everyone knows", "give one of your own")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    count = len(value.get_secret_value())
    if count < _SECRET_CHARACTERS:
        raise fault(
            f"has {count} characters, so it can be guessed",
            f"give at least {_SECRET_CHARACTERS}, for example what `openssl rand -hex 32` prints",
        )
    return value


def _signing_key(value: SecretStr) -> SecretStr:
    """Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    right = (
        "give `whsec_` and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)"
    )
    prefix, encoded = value.get_secret_value()[:6], value.get_secret_value()[6:]
    if prefix != "whsec_":
        raise fault("does not begin with `whsec_`", right)
    try:
        count = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise fault("is no base64 behind `whsec_`", right) from None
    if count not in _KEY_BYTES:
        raise fault(f"holds {count} bytes", right)
    return value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
"""Seconds; written like `90s`, `30m` or `1h30m`."""

Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": "string", "format": "size"})]
"""Bytes; written like `512MiB` or `2GiB`."""

WebAddress = Annotated[str, AfterValidator(_web_address)]
"""An http or https address, without a slash at its end."""

Secret = Annotated[SecretStr, AfterValidator(_no_example), AfterValidator(_long_enough)]
"""A shared secret that is long enough not to be guessed."""

SigningKey = Annotated[SecretStr, AfterValidator(_no_example), AfterValidator(_signing_key)]
"""A signing secret as Standard Webhooks writes it."""


class ServerSettings(Section):
    """Where Lading listens and what it calls itself."""

    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    url: WebAddress | None = Field(
        None,
        description="Address people and hosts reach Lading under, for links in statuses. "
        "Default: `http://<address>:<port>`.",
        examples=["https://ci.example.com"],
    )
    data: Path = Field(
        Path("data"),
        description="Folder for the database, logs and git mirrors; a relative one is beside "
        "the configuration file.",
    )
    public: bool = Field(
        default=False,
        description="Whether pages may be read without signing in. The API always wants a token.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="How Lading writes its own log to standard error."
    )


def _sqlite(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("sqlite:///"):
        raise fault("only SQLite works today", "write `sqlite:///` and the file's path")
    return value


class DatabaseSettings(Section):
    """Where rows are kept."""

    url: Annotated[SecretStr, AfterValidator(_sqlite)] | None = Field(
        None,
        description="SQLAlchemy URL. Default: SQLite, `<data>/lading.db`.",
        examples=["sqlite:////var/lib/lading/lading.db"],
    )


class SecretsSettings(Section):
    """How secrets are kept."""

    key_file: Path | None = Field(
        None,
        description="File of the key that secrets are sealed with; keep a copy apart from the "
        "database's backups. Default: `<data>/secrets.key`, made when it is needed.",
        examples=["/etc/lading/secrets.key"],
    )


class EngineSettings(Section):
    """The container engine."""

    url: str | None = Field(
        None,
        description="`unix:///var/run/docker.sock`, `tcp://…`. Default: `DOCKER_HOST`, "
        "else the engine's usual socket.",
        examples=["unix:///var/run/docker.sock"],
    )
    runtime: str | None = Field(
        None,
        description="Runtime for step containers (`runsc`, …). Default: the engine's own.",
        examples=["runsc"],
    )


class WorkerSettings(Section):
    """How much runs at once, and the bounds of a step."""

    slots: int = Field(2, ge=1, le=256, description="Runs at the same time.")
    parallel_steps: int = Field(4, ge=1, le=64, description="Steps of one run at the same time.")
    timeout: Duration = Field(
        3600.0, gt=0, description="Time limit of a run that sets none itself."
    )
    memory: Size = Field(
        2048 * _MIB, ge=6 * _MIB, description="Memory limit of a step's container."
    )
    cpus: float = Field(2.0, gt=0, description="CPU limit of a step's container.")
    pids: int = Field(2048, ge=16, description="Process limit of a step's container.")
    log_limit: Size = Field(
        64 * _MIB, ge=_MIB, description="Output kept of one step; the rest is dropped."
    )
    grace: Duration = Field(10.0, ge=0, description="Time between SIGTERM and SIGKILL.")


class RepositorySettings(Section):
    """What belongs to one repository of a host."""

    webhook_secret: Secret | None = Field(
        None,
        description="Secret of this repository's own webhook.",
        examples=[_SECRET_EXAMPLE],
    )
    signing_token: SigningKey | None = Field(
        None,
        description="GitLab only: this repository's signing token, `whsec_…`.",
        examples=[_KEY_EXAMPLE],
    )


class GitHubRepositorySettings(RepositorySettings):
    """What belongs to one repository of a GitHub host."""

    signing_token: None = Field(None, description="GitLab only.", exclude=True)


class GitRepositorySettings(RepositorySettings):
    """What belongs to one plain git repository."""

    webhook_secret: SigningKey | None = Field(
        None,
        description="Signing secret of this repository's hook, `whsec_…`.",
        examples=[_KEY_EXAMPLE],
    )
    signing_token: None = Field(None, description="GitLab only.", exclude=True)


class GitHubSettings(Section):
    """A GitHub or GitHub Enterprise host."""

    kind: Literal["github"] = Field(..., description="The kind of host.")
    webhook_secret: Secret | None = Field(
        None,
        description="Secret of webhooks for any repository of the host.",
        examples=[_SECRET_EXAMPLE],
    )
    token: SecretStr | None = Field(
        None,
        description="Token that may read repositories and write commit statuses.",
        examples=["github_pat_…"],
    )
    api_url: WebAddress = Field(
        "https://api.github.com",
        description="Address of the API; for GitHub Enterprise `https://<host>/api/v3`.",
    )
    url: WebAddress = Field(
        "https://github.com", description="Address repositories are cloned from."
    )
    repositories: dict[str, GitHubRepositorySettings] = Field(
        default={}, description="Tables for single repositories, by `owner/name`."
    )


class GitLabSettings(Section):
    """A gitlab.com or self-managed GitLab host."""

    kind: Literal["gitlab"] = Field(..., description="The kind of host.")
    webhook_secret: Secret | None = Field(
        None,
        description="Secret token (`X-Gitlab-Token`) of webhooks for any project.",
        examples=[_SECRET_EXAMPLE],
    )
    signing_token: SigningKey | None = Field(
        None,
        description="Signing token of webhooks for any project, `whsec_…`.",
        examples=[_KEY_EXAMPLE],
    )
    token: SecretStr | None = Field(
        None,
        description="Access token with scope `api`, to read and to write statuses.",
        examples=["glpat-…"],
    )
    url: WebAddress = Field("https://gitlab.com", description="Address of the instance.")
    repositories: dict[str, RepositorySettings] = Field(
        default={}, description="Tables for single projects, by `group/name`."
    )


class GitSettings(Section):
    """Plain git: bare repositories with our post-receive hook."""

    kind: Literal["git"] = Field(..., description="The kind of host.")
    webhook_secret: SigningKey | None = Field(
        None,
        description="Signing secret of the hook, `whsec_…` (Standard Webhooks).",
        examples=[_KEY_EXAMPLE],
    )
    url: str = Field(
        ...,
        description="Where repositories are: a folder (`/srv/git`) or an address; the "
        "repository's name and `.git` are put behind it.",
        examples=["/srv/git"],
    )
    repositories: dict[str, GitRepositorySettings] = Field(
        default={}, description="Tables for single repositories, by name."
    )


Host = TypeVar("Host", GitHubSettings, GitLabSettings, GitSettings)


def _secrets(host: GitHubSettings | GitLabSettings | GitSettings) -> Iterator[tuple[str, str]]:
    """Each secret of a host with the table it stands in."""
    for place, table in (("", host), *host.repositories.items()):
        for name in ("webhook_secret", "signing_token"):
            value = getattr(table, name, None)
            if value is not None:
                yield value.get_secret_value(), f'repositories."{place}"' if place else "the host"


def _apart(host: Host) -> Host:
    """Each secret belongs to one place: it tells which repository a delivery may speak of."""
    owners: dict[str, str] = {}
    for secret, place in _secrets(host):
        first = owners.setdefault(secret, place)
        if first != place:
            raise fault(f"{place} has the same secret as {first}", "give each a secret of its own")
    return host


HostSettings = Annotated[GitHubSettings | GitLabSettings | GitSettings, Field(discriminator="kind")]


class RegistrySettings(Section):
    """A login for one registry."""

    username: str = Field(
        ..., description="User, robot account or token name.", examples=["acme-robot"]
    )
    password: SecretStr = Field(
        ..., description="Password or token.", examples=["a-token-that-may-push"]
    )


_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def _host_name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise fault(
            f"{value!r} cannot stand in the address of a webhook",
            "name a host with lower-case letters, digits, `.`, `_` and `-`, like `github`",
        )
    return value


class Settings(Section):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    secrets: SecretsSettings = SecretsSettings()
    engine: EngineSettings = EngineSettings()
    worker: WorkerSettings = WorkerSettings()
    hosts: dict[
        Annotated[str, AfterValidator(_host_name)],
        Annotated[HostSettings, AfterValidator(_apart)],
    ] = Field(
        default={},
        description="Git hosts by name: `[hosts.github]`. Webhooks go to `/webhooks/<name>`.",
    )
    registries: dict[str, RegistrySettings] = Field(
        default={}, description='Registry logins by host name: `[registries."ghcr.io"]`.'
    )

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database; by default SQLite in the data folder."""
        url = self.database.url
        return url.get_secret_value() if url else f"sqlite:///{self.server.data / 'lading.db'}"

    @property
    def key_file(self) -> Path:
        """The file of the key that secrets are sealed with."""
        return self.secrets.key_file or self.server.data / "secrets.key"
