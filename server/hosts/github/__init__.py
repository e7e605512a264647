"""GitHub and GitHub Enterprise Server."""

from server.hosts.github.host import GitHubHost

__all__ = ["GitHubHost"]
