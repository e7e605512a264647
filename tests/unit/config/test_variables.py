from __future__ import annotations

from server.config import load


def test_what_names_a_server_for_commands_is_no_setting_of_one() -> None:
    told = {"LADING_URL": "https://ci.test", "LADING_TOKEN": "lading_x"}

    assert load(None, told) == load(None, {})
