"""Every setting, with what it means, its bounds and its default."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from server.config.fields import (
    KEY_EXAMPLE,
    SECRET_EXAMPLE,
    Duration,
    RoomText,
    Secret,
    Section,
    SigningKey,
    Size,
    WebAddress,
    fault,
)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise fault(f"is no network ({error})", "write it like `10.20.0.0/16`") from None
    return value


def _split(value: object) -> object:
    """The environment has no lists: `10.0.0.0/8, 192.168.0.0/16`."""
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


_MIB = 2**20
_GIB = 2**30
_DAY = 86400.0


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


class RecipesSettings(Section):
    """Templates that images are made of."""

    folder: Path | None = Field(
        None,
        description="Folder of templates of your own, a folder each; one of a name that comes "
        "with Lading takes its place. A relative one is beside the configuration file. It is read "
        "when the server starts.",
        examples=["/etc/lading/templates"],
    )


class SecretsSettings(Section):
    """How secrets are kept."""

    key_path: Path | None = Field(
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
    patience: Duration = Field(
        300.0,
        ge=0,
        description="How long a run waits for an engine that does not answer any more, before it "
        "ends as an error. Runs that have not begun wait for as long as it takes.",
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
    cache_limit: Size = Field(
        2 * _GIB, ge=_MIB, description="What the `cache` of a step may hold; more is not kept."
    )
    grace: Duration = Field(10.0, ge=0, description="Time between SIGTERM and SIGKILL.")


class ArtifactSettings(Section):
    """Files that steps leave to be kept."""

    limit: Size = Field(
        512 * _MIB, ge=_MIB, description="Artifacts kept of one step; of more than that, none is."
    )
    room: Size = Field(
        10 * _GIB,
        ge=0,
        description="Artifacts kept of all runs together; while they take that much, no more is "
        "kept, and runs say so.",
    )
    expire_in: Duration = Field(
        14 * _DAY,
        ge=60,
        description="How long artifacts are kept where the pipeline file does not say; never "
        "longer than their run.",
    )


class RetentionSettings(Section):
    """What is removed for its age, each night. A run that has not ended never is."""

    images: Duration = Field(
        _DAY,
        ge=0,
        description="How long images built by a run that did not succeed stay on the engine, so "
        "that a re-run of only what failed need not build them again.",
    )
    runs: Duration = Field(
        90 * _DAY,
        ge=3 * _DAY,
        description="How long runs are kept, with decision and delivery. A run stays that made an "
        "image version which a channel points at or may be rolled back to, or any version of an "
        "image without channels; and so does the newest of each branch and tag.",
    )
    moves: int = Field(
        10,
        ge=1,
        description="How many moves of each channel are looked at for that: what it pointed at "
        "before them stays.",
    )
    least_runs: int = Field(
        100, ge=0, description="The newest runs of each repository, kept whatever their age."
    )
    logs: Duration = Field(
        30 * _DAY, ge=0, description="How long the output of steps is kept; the run stays."
    )
    deliveries: Duration = Field(
        14 * _DAY,
        ge=3 * _DAY,
        description="How long headers and bodies of deliveries are kept, at least the 3 days in "
        "which hosts send again; that one came, and what was decided, stays as long as the run.",
    )
    cache: Duration = Field(
        7 * _DAY,
        ge=0,
        description="How long the engine keeps built images, images without a name and build "
        "cache that nobody has used, and caches of steps that were not written anew.",
    )
    cache_size: Size = Field(
        10 * _GIB,
        ge=0,
        description="How much of each of those the engine keeps; the oldest go first.",
    )


class NetworkSettings(Section):
    """Where Lading itself may connect to when somebody names an address through the API."""

    private: Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_split)] = (
        Field(
            default=[],
            description="Private networks in which registries added through the API may lie; "
            "public addresses always may, those of the link (169.254.0.0/16) never. What this file "
            "or the command line names is not held to it.",
            examples=[["10.20.0.0/16"]],
        )
    )


class DiskSettings(Section):
    """How much room must be free on the disks of database, logs, mirrors and a local engine."""

    warn: RoomText = Field("5GiB or 10%", description="With less free, pages and metrics say so.")
    pause: RoomText = Field(
        "1GiB or 2%",
        description="With less free, no new run starts until there is room again; pushes are "
        "taken and wait.",
    )


Strangers = Literal["hold", "run", "ignore"]
_STRANGERS = (
    "Pull requests from a fork, by somebody who may not write to the repository: `hold` starts a "
    "run once somebody has approved the commit, `run` starts it at once, `ignore` starts none. "
    "However it starts, it gets no secrets and no logins, and pushes and deploys nothing."
)


class RepositorySettings(Section):
    """What belongs to one repository of a host."""

    webhook_secret: Secret | None = Field(
        None,
        description="Secret of this repository's own webhook.",
        examples=[SECRET_EXAMPLE],
    )
    signing_token: SigningKey | None = Field(
        None,
        description="GitLab only: this repository's signing token, `whsec_…`.",
        examples=[KEY_EXAMPLE],
    )
    strangers: Strangers | None = Field(
        None,
        description="As the host's, for this repository. Default: the host's.",
        examples=["ignore"],
    )


class GitHubRepositorySettings(RepositorySettings):
    """What belongs to one repository of a GitHub host."""

    signing_token: None = Field(None, description="GitLab only.", exclude=True)


class GitRepositorySettings(RepositorySettings):
    """What belongs to one plain git repository."""

    webhook_secret: SigningKey | None = Field(
        None,
        description="Signing secret of this repository's hook, `whsec_…`.",
        examples=[KEY_EXAMPLE],
    )
    signing_token: None = Field(None, description="GitLab only.", exclude=True)
    strangers: None = Field(None, description="GitHub and GitLab only.", exclude=True)


class GitHubSettings(Section):
    """A GitHub or GitHub Enterprise host."""

    kind: Literal["github"] = Field(..., description="The kind of host.")
    webhook_secret: Secret | None = Field(
        None,
        description="Secret of webhooks for any repository of the host.",
        examples=[SECRET_EXAMPLE],
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
    strangers: Strangers = Field("hold", description=_STRANGERS)
    repositories: dict[str, GitHubRepositorySettings] = Field(
        default={}, description="Tables for single repositories, by `owner/name`."
    )


class GitLabSettings(Section):
    """A gitlab.com or self-managed GitLab host."""

    kind: Literal["gitlab"] = Field(..., description="The kind of host.")
    webhook_secret: Secret | None = Field(
        None,
        description="Secret token (`X-Gitlab-Token`) of webhooks for any project.",
        examples=[SECRET_EXAMPLE],
    )
    signing_token: SigningKey | None = Field(
        None,
        description="Signing token of webhooks for any project, `whsec_…`.",
        examples=[KEY_EXAMPLE],
    )
    token: SecretStr | None = Field(
        None,
        description="Access token with scope `api`, to read and to write statuses.",
        examples=["glpat-…"],
    )
    url: WebAddress = Field("https://gitlab.com", description="Address of the instance.")
    strangers: Strangers = Field("hold", description=_STRANGERS)
    repositories: dict[str, RepositorySettings] = Field(
        default={}, description="Tables for single projects, by `group/name`."
    )


class GitSettings(Section):
    """Plain git: bare repositories with our post-receive hook."""

    kind: Literal["git"] = Field(..., description="The kind of host.")
    webhook_secret: SigningKey | None = Field(
        None,
        description="Signing secret of the hook, `whsec_…` (Standard Webhooks).",
        examples=[KEY_EXAMPLE],
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
        ...,
        description="User, robot account or token name; for Amazon ECR an access key's id.",
        examples=["acme-robot"],
    )
    password: SecretStr = Field(
        ...,
        description="Password or token; for Amazon ECR the access key's secret.",
        examples=["a-token-that-may-push"],
    )
    create_repositories: bool = Field(
        default=False,
        description="Whether repositories that a push misses are made; Amazon ECR makes none by "
        "itself.",
    )
    insecure: bool = Field(
        default=False,
        description="Whether Lading itself may speak to it without TLS, or without a certificate "
        "that holds; for pushes and pulls the engine has a setting of its own.",
    )


class AnnounceSettings(Section):
    """Somebody to be told of each move of a channel."""

    url: WebAddress = Field(
        ...,
        description="Where a POST goes after each move.",
        examples=["https://deploy.example.com/hooks/lading"],
    )
    secret: SigningKey = Field(
        ...,
        description="What signs it (Standard Webhooks), `whsec_…`.",
        examples=[KEY_EXAMPLE],
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
    recipes: RecipesSettings = RecipesSettings()
    engine: EngineSettings = EngineSettings()
    worker: WorkerSettings = WorkerSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    retention: RetentionSettings = RetentionSettings()
    disk: DiskSettings = DiskSettings()
    network: NetworkSettings = NetworkSettings()
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

    announce: dict[str, AnnounceSettings] = Field(
        default={},
        description="Whom to tell of each move of a channel, by name: `[announce.deployment]`.",
    )

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database; by default SQLite in the data folder."""
        url = self.database.url
        return url.get_secret_value() if url else f"sqlite:///{self.server.data / 'lading.db'}"

    def strangers(self, host: str, repository: str) -> Strangers:
        """What becomes of strangers' pull requests to a repository of a host."""
        found = self.hosts.get(host)
        if found is None or found.kind == "git":
            return "hold"
        own = found.repositories.get(repository)
        return (own and own.strangers) or found.strangers

    @property
    def key_file(self) -> Path:
        """The file of the key that secrets are sealed with."""
        return self.secrets.key_path or self.server.data / "secrets.key"
