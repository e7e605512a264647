"""Static files and templates keep to what the content policy allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.ui.assets import FOLDER, Assets
from server.ui.site import TEMPLATES

PAGES = sorted(TEMPLATES.glob("*.html"))


def test_an_address_changes_with_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a.css"
    file.write_text("a {}")
    first = Assets(tmp_path).address("a.css")
    file.write_text("b {}")

    assert Assets(tmp_path).address("a.css") != first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_template_has_nothing_inline(page: Path) -> None:
    text = page.read_text()

    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|\|\s*safe", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_scripts_put_nothing_into_pages_as_html() -> None:
    text = (FOLDER / "lading.js").read_text()

    assert not re.search(
        r"innerHTML\s*=[^=]|outerHTML\s*=|insertAdjacentHTML|document\.write", text
    )
    assert "eval(" not in text
