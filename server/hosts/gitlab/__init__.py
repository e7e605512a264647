"""GitLab, gitlab.com or self-managed."""

from server.hosts.gitlab.host import GitLabHost

__all__ = ["GitLabHost"]
