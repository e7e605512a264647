"""Putting the post-receive hook into a bare repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.problems import LadingError
from server.hosts import signing
from server.hosts.git.payload import repository_name
from server.hosts.port import PayloadInvalidError

HOOK = "post-receive"
SETTINGS = "lading.json"
FORMER = "post-receive.local"
_MARK = b"# lading-hook "
_SCRIPT = Path(__file__).with_name(HOOK)


class HookInstallError(LadingError):
    """The hook cannot be installed; the message says what to do."""


def install(repository: Path, *, server_url: str, host_name: str, secret: str, name: str) -> Path:
    """Write the hook and, beside it, its settings. Doing it again renews both.

    Args:
        repository: A bare repository's folder (or a work tree's `.git`).
        server_url: Where the hook reaches Lading: `http://127.0.0.1:8000`.
        host_name: The host's name in the configuration, as in `/webhooks/<name>`.
        secret: `whsec_…`, the host's or the repository's.
        name: The repository's name below the host's `url`, without `.git`.

    Returns:
        The hook's path.

    Raises:
        HookInstallError: It is no repository, another hook is there, or a value cannot be used.
    """
    hooks = _hooks_folder(repository)
    settings = _settings(server_url, host_name, secret, name)
    hook = hooks / HOOK
    _refuse_foreign(hook)
    try:
        hooks.mkdir(exist_ok=True)
        owner = repository.stat()
        _write(hooks / SETTINGS, settings, 0o600, owner)
        _write(hook, _SCRIPT.read_bytes(), 0o755, owner)
    except OSError as error:
        raise HookInstallError(
            f"{error.filename or hooks} cannot be written ({error.strerror}): "
            "run this as the user who owns the repository"
        ) from error
    return hook


def _hooks_folder(repository: Path) -> Path:
    if not (repository / "HEAD").is_file() or not (repository / "objects").is_dir():
        raise HookInstallError(
            f"{repository} is no bare git repository: give the folder that holds HEAD and objects, "
            "usually ending in .git"
        )
    if shutil.which("git") is None:
        raise HookInstallError("git is not installed: install it, then try again")
    asked = subprocess.run(
        ["git", "config", "--get", "core.hooksPath"],
        cwd=repository,
        env={**os.environ, "GIT_DIR": str(repository.resolve())},
        capture_output=True,
        check=False,
    )
    elsewhere = asked.stdout.decode("utf-8", "replace").strip()
    if elsewhere:
        raise HookInstallError(
            f"git runs the hooks in {elsewhere} (core.hooksPath), not the repository's own, and "
            "other repositories may share that folder: unset core.hooksPath for this repository, "
            "then try again"
        )
    return repository / "hooks"


def _settings(server_url: str, host_name: str, secret: str, name: str) -> bytes:
    parts = urlsplit(server_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HookInstallError(
            f"{server_url!r} is no address of a Lading server: it looks like http://127.0.0.1:8000"
        )
    try:
        signing.key(secret)
        repository_name(name)
    except (ValueError, PayloadInvalidError) as error:
        raise HookInstallError(str(error)) from error
    values = {"url": server_url, "host": host_name, "secret": secret, "repository": name}
    return (json.dumps(values, indent=2) + "\n").encode()


def _refuse_foreign(hook: Path) -> None:
    try:
        ours = _MARK in hook.read_bytes()
    except FileNotFoundError:
        if not hook.is_symlink():
            return
        ours = False
    if not ours:
        raise HookInstallError(
            f"{hook} is there already and is not Lading's. Rename it to {FORMER} in the same "
            "folder, then try again: Lading's hook runs it first, with the same input"
        )


def _write(path: Path, content: bytes, mode: int, owner: os.stat_result) -> None:
    """Put a whole file in place at once; pushes may run while we write."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(part).chmod(mode)
        if os.geteuid() == 0:  # root installs for the user who owns the repository
            os.chown(part, owner.st_uid, owner.st_gid)
        Path(part).replace(path)
    except OSError:
        Path(part).unlink(missing_ok=True)
        raise
