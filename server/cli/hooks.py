"""Installing the hook with what the configuration knows."""

from __future__ import annotations

from pathlib import Path

from server.cli.settings import UsageError
from server.config import GitSettings, Settings
from server.hosts.git import hook


def install(
    settings: Settings,
    repository: Path,
    *,
    host: str | None,
    name: str | None,
    server_url: str | None,
) -> Path:
    """Put the hook into a repository; returns the hook's path.

    Raises:
        UsageError: The host, the name or the secret cannot be told.
        HookInstallError: The hook cannot be written.
    """
    host_name, chosen = _host(settings, host)
    known = name or _name(chosen, repository)
    own = chosen.repositories.get(known)
    secret = (own.webhook_secret if own else None) or chosen.webhook_secret
    if secret is None:
        raise UsageError(
            f"`hosts.{host_name}.webhook_secret` is not set: without it pushes cannot be signed"
        )
    return hook.install(
        repository,
        server_url=server_url or _server_url(settings),
        host_name=host_name,
        secret=secret.get_secret_value(),
        name=known,
    )


def _host(settings: Settings, name: str | None) -> tuple[str, GitSettings]:
    plain = {key: host for key, host in settings.hosts.items() if isinstance(host, GitSettings)}
    if not plain:
        raise UsageError("no plain git host is configured: add `[hosts.NAME]` with `kind = 'git'`")
    if name is None and len(plain) == 1:
        return next(iter(plain.items()))
    if name is None or name not in plain:
        wrong = "say which host with --host" if name is None else f"{name!r} is no plain git host"
        raise UsageError(f"{wrong}: there is {', '.join(sorted(plain))}")
    return name, plain[name]


def _name(host: GitSettings, repository: Path) -> str:
    """The repository's name: where its folder stands below the host's."""
    folder = repository.resolve()
    if folder.name == ".git":
        folder = folder.parent
    try:
        below = folder.relative_to(Path(host.url).resolve())
    except ValueError as error:
        raise UsageError(
            f"{repository} is not below {host.url}: say the repository's name with --name"
        ) from error
    return below.as_posix().removesuffix(".git")


def _server_url(settings: Settings) -> str:
    server = settings.server
    if server.url:
        return server.url.rstrip("/")
    if server.port == 0:
        raise UsageError("the port is chosen at each start: set `server.url`, or use --server URL")
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.address, server.address)  # noqa: S104
    shown = f"[{address}]" if ":" in address else address
    return f"http://{shown}:{server.port}"
