"""The configuration for a command, and a user's mistakes in a form for people."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipelines.problems import LadingError
from server.cli.errors import UsageError
from server.cli.terminal import inert
from server.config import ConfigInvalidError, Settings, load

__all__ = ["DEFAULT", "UsageError", "read", "told", "with_port"]

DEFAULT = Path("config.toml")


def told(error: Exception) -> int | None:
    """Say on standard error what a person did wrong or has to mend.

    Returns:
        The exit code: 2 for what was asked or configured, 4 for a server that cannot be asked or
        says no, 1 for the rest; None where the error is a fault of ours, which has said nothing
        yet.
    """
    match error:
        case ConfigInvalidError():
            count = len(error.faults)
            what = "one fault" if count == 1 else f"{count} faults"
            lines = [f"the configuration has {what}:", *(f"  {fault}" for fault in error.faults)]
            code = 2
        case LadingError():
            lines = [inert(str(error))]  # strangers may have worded it
            code = _code(error)
        case _:
            return None
    print("lading:", "\n".join(lines), file=sys.stderr)
    return code


def _code(error: LadingError) -> int:
    # Only a command that talks to a server has loaded that room.
    client = sys.modules.get("server.client.errors")
    if isinstance(error, UsageError):
        return 2
    if client is not None and isinstance(error, client.ClientError):
        return 4
    return 1


def read(config: Path | None) -> Settings:
    """The settings: of the file named, else of `config.toml` here, else the defaults.

    Raises:
        ConfigInvalidError: With every fault.
    """
    if config is None and DEFAULT.is_file():
        config = DEFAULT
    return load(config, os.environ)


def with_port(settings: Settings, port: int | None) -> Settings:
    """The settings with another port."""
    if port is None:
        return settings
    server = settings.server.model_copy(update={"port": port})
    return settings.model_copy(update={"server": server})
