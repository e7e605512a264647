from __future__ import annotations

import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from scripts.parts.errors import PartError
from scripts.parts.registry import Registry, registry


def status(running: Registry, *, password: str | None = None) -> int:
    request = urllib.request.Request(f"http://{running.address}/v2/")
    if password is not None:
        login = b64encode(f"{running.username}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def test_it_takes_its_login_and_no_other(registry: Registry) -> None:
    assert status(registry, password=registry.password) == 200
    assert status(registry, password="wrong") == 401
    assert status(registry) == 401


def test_without_a_login_it_is_open_and_stops_with_its_context(tmp_path: Path) -> None:
    with registry(tmp_path) as running:
        assert status(running) == 200

    with pytest.raises(urllib.error.URLError):
        status(running)


def test_a_port_that_is_taken_is_told_with_the_log(tmp_path: Path) -> None:
    with registry(tmp_path / "one") as running:
        port = int(running.address.rpartition(":")[2])
        with pytest.raises(PartError, match="address already in use"):
            registry(tmp_path / "two", port=port).__enter__()


def test_variables_of_the_person_do_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_HTTP_ADDR", "127.0.0.1:1")

    with registry(tmp_path) as running:
        assert status(running) == 200
