"""`config.toml`, the environment and `…_FILE`s, read into settings with every fault at once."""

from __future__ import annotations

from server.config.faults import ConfigInvalidError, Fault
from server.config.fields import Section
from server.config.loading import load
from server.config.models import (
    DatabaseSettings,
    DiskSettings,
    EngineSettings,
    GitHubRepositorySettings,
    GitHubSettings,
    GitLabSettings,
    GitRepositorySettings,
    GitSettings,
    HostSettings,
    RecipesSettings,
    RegistrySettings,
    RepositorySettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from server.config.room import Room, parse_room

__all__ = [
    "ConfigInvalidError",
    "DatabaseSettings",
    "DiskSettings",
    "EngineSettings",
    "Fault",
    "GitHubRepositorySettings",
    "GitHubSettings",
    "GitLabSettings",
    "GitRepositorySettings",
    "GitSettings",
    "HostSettings",
    "RecipesSettings",
    "RegistrySettings",
    "RepositorySettings",
    "RetentionSettings",
    "Room",
    "Section",
    "ServerSettings",
    "Settings",
    "WorkerSettings",
    "load",
    "parse_room",
]
