"""Plain git: bare repositories on this machine or behind an address, with our post-receive hook."""

from server.hosts.git.hook import HookInstallError, install
from server.hosts.git.host import GitHost

__all__ = ["GitHost", "HookInstallError", "install"]
