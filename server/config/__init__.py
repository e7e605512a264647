"""`config.toml`, the environment and `…_FILE`s, read into settings with every fault at once."""

from __future__ import annotations

from server.config.faults import ConfigInvalidError, Fault
from server.config.loading import load
from server.config.models import (
    DatabaseSettings,
    EngineSettings,
    GitHubRepositorySettings,
    GitHubSettings,
    GitLabSettings,
    GitRepositorySettings,
    GitSettings,
    HostSettings,
    RegistrySettings,
    RepositorySettings,
    RetentionSettings,
    Section,
    ServerSettings,
    Settings,
    WorkerSettings,
)

__all__ = [
    "ConfigInvalidError",
    "DatabaseSettings",
    "EngineSettings",
    "Fault",
    "GitHubRepositorySettings",
    "GitHubSettings",
    "GitLabSettings",
    "GitRepositorySettings",
    "GitSettings",
    "HostSettings",
    "RegistrySettings",
    "RepositorySettings",
    "RetentionSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "WorkerSettings",
    "load",
]
