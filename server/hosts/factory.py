"""Hosts from the configuration."""

from __future__ import annotations

from server.config import GitHubSettings, GitLabSettings, HostSettings, Settings
from server.hosts.git.host import GitHost
from server.hosts.github.host import GitHubHost
from server.hosts.gitlab.host import GitLabHost
from server.hosts.port import Host


def make_hosts(settings: Settings) -> dict[str, Host]:
    """Every configured host, by name."""
    return {name: _make(name, host) for name, host in settings.hosts.items()}


def _make(name: str, settings: HostSettings) -> Host:
    match settings:
        case GitHubSettings():
            return GitHubHost(name, settings)
        case GitLabSettings():
            return GitLabHost(name, settings)
        case _:
            return GitHost(name, settings)
