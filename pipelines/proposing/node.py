"""Node projects."""

from __future__ import annotations

import re

from pipelines.proposing.files import Files, table
from pipelines.proposing.proposals import Found, Line, TestStep

_USUAL = "24"
_NO_TEST = "no test specified"
"""What `npm init` writes where there are no tests."""
_SCRIPTS = ("lint", "build", "test")
"""Scripts that are run, in that order, where there are such."""
_MANAGER = re.compile(r"(npm|yarn|pnpm)@(\d+)([\w.-]*)")
_MODERN_YARN = 2
_TEST_FILE = re.compile(r"(?:^|/)(?:[^/]*\.test|test-[^/]*|test)\.[cm]?js$")


def look(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a Node project; None where there is none."""
    if not files.has("package.json"):
        return None
    package = files.json("package.json")
    manager, install = _install(files, package)
    scripts = [name for name in _SCRIPTS if _is_script(package, name)]
    lines = [Line(command=f"{manager} run {name}") for name in scripts]
    if "test" not in scripts:
        lines.append(_without_test_script(files))
    version, why = _version(files, package)
    told = ", ".join(f"`{name}`" for name in scripts) or "no script to test with"
    step = TestStep(
        name="node",
        about=f"{manager} installs what it needs, then runs {told}",
        image=f"node:{version}",
        image_note=f"{why}; `node:{version}-slim` is smaller and has no compilers",
        lines=(*install, *lines),
    )
    return Found(what="a Node project", why=f"package.json ({told}), {manager}"), step


def _is_script(package: object, name: str) -> bool:
    script = table(package, "scripts").get(name)
    return isinstance(script, str) and _NO_TEST not in script


def _without_test_script(files: Files) -> Line:
    if any(_TEST_FILE.search(path) for path in files.paths):
        return Line(command="node --test")
    note = "there is no script `test`: put what runs your tests here"
    return Line(command="npm pkg get name version", note=note)


def _install(files: Files, package: object) -> tuple[str, tuple[Line, ...]]:
    """Which package manager, and how it installs."""
    named = _MANAGER.match(str(table(package).get("packageManager") or ""))
    if files.has("pnpm-lock.yaml"):
        exact = named[0] if named and named[1] == "pnpm" else "pnpm"
        get = Line(command=f"npm install --global {exact}")
        return "pnpm", (get, Line(command="pnpm install --frozen-lockfile"))
    if files.has("yarn.lock"):
        modern = files.has(".yarnrc.yml") or (named and int(named[2]) >= _MODERN_YARN)
        if modern:
            get = Line(command="npm install --global --force corepack && corepack enable")
            return "yarn", (get, Line(command="yarn install --immutable"))
        return "yarn", (Line(command="yarn install --frozen-lockfile"),)
    if files.has("package-lock.json", "npm-shrinkwrap.json"):
        return "npm", (Line(command="npm ci"),)
    note = "commit package-lock.json, and `npm ci` installs exactly that"
    return "npm", (Line(command="npm install", note=note),)


def _version(files: Files, package: object) -> tuple[str, str]:
    for name in (".nvmrc", ".node-version"):
        if found := re.match(r"\s*v?(\d+)", files.text(name)):
            return found[1], f"the version in {name}"
    wanted = str(table(package, "engines").get("node") or "")
    if found := re.fullmatch(r"[\^~v=\s]*(\d+)(?:\.[\dx*]+)*", wanted):
        return found[1], f"the version in `engines` ({wanted.strip()})"
    return _USUAL, "the version you deploy on should stand here"
