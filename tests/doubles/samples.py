"""The kept deliveries, and new ones in their shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent.parent / "samples"


def cases(host: str) -> list[str]:
    """The names of a host's samples."""
    return sorted(folder.name for folder in (SAMPLES / host).iterdir())


def headers(host: str, case: str) -> dict[str, str]:
    """A sample's headers, names as sent."""
    found: dict[str, str] = json.loads((SAMPLES / host / case / "headers.json").read_text())
    return found


def lower(host: str, case: str) -> dict[str, str]:
    """A sample's headers as the port wants them: names in lower case."""
    return {name.lower(): value for name, value in headers(host, case).items()}


def body(host: str, case: str) -> dict[str, Any]:
    """A sample's body; a new object each time, free to be changed."""
    found: dict[str, Any] = json.loads((SAMPLES / host / case / "body.json").read_text())
    return found
