from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {
    "runtime": PROJECT["dependencies"],
    "dev": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]],
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> set[str]:
    """The packages of others that the product's source imports, by their first name."""
    names: set[str] = set()
    for path in (*ROOT.glob("pipelines/**/*.py"), *ROOT.glob("server/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"pipelines", "server"}


def lock(kind: str) -> str:
    return (ROOT / "requirements" / f"{kind}.txt").read_text()


def locked(kind: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock(kind), re.MULTILINE))


@pytest.mark.parametrize("kind", ["runtime", "dev"])
def test_what_the_project_needs_is_locked(kind: str) -> None:
    versions = locked(kind)
    for text in NEEDED[kind]:
        needed = Requirement(text)
        name = canonical(needed.name)
        assert name in versions, f"{needed} is not locked: run scripts/lock"
        assert needed.specifier.contains(versions[name]), f"{needed}: run scripts/lock"


def test_what_the_product_imports_is_locked() -> None:
    known = packages_distributions()
    versions = locked("runtime")

    missing = {
        name
        for name in imported()
        if not any(canonical(brought_by) in versions for brought_by in known.get(name, [name]))
    }

    assert missing == set(), "add them to pyproject.toml and run scripts/lock"


@pytest.mark.parametrize("kind", ["runtime", "dev"])
def test_every_locked_package_has_its_hashes(kind: str) -> None:
    entries = re.split(r"\n(?=[a-z])", lock(kind).strip())

    assert len(entries) == len(locked(kind))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("kind", ["runtime", "dev"])
def test_a_lock_names_no_address_and_no_path(kind: str) -> None:
    assert re.findall(r"://|^-|file:|\s/", lock(kind), re.MULTILINE) == []


def test_both_locks_hold_the_same_versions() -> None:
    developed = locked("dev")

    assert {name: developed[name] for name in locked("runtime")} == locked("runtime")
