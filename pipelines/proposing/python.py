"""Python projects."""

from __future__ import annotations

import re

from pipelines.proposing.files import Files, table, texts
from pipelines.proposing.proposals import Found, Line, TestStep

_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile")
_VERSIONS = tuple(f"3.{minor}" for minor in range(13, 8, -1))
"""The versions to choose from, the usual one first."""
_BOUND = re.compile(r"(<=|<|>=|>|==|~=|!=)\s*3\.(\d+)")
_EXTRAS = ("test", "tests", "testing", "dev")
_MORE_REQUIREMENTS = (
    *("requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt"),
    *("requirements-test.txt", "requirements_test.txt", "test-requirements.txt"),
    *("requirements/dev.txt", "requirements/test.txt", "requirements/tests.txt"),
)
_FROM_TAGS = ("setuptools_scm", "setuptools-scm", "hatch-vcs", "poetry-dynamic-versioning")
_TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py$")
_TOOLS = (
    ("uv.lock", "uv", "uv sync --frozen"),
    ("poetry.lock", "poetry", "poetry install"),
    ("Pipfile", "pipenv", "pipenv install --dev"),
)
_LOOKED_INTO = 20
"""Test files that are read for what they import."""


def look(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a Python project; None where there is none."""
    scripts = [path for path in files.paths if path.endswith(".py")]
    mark = files.has(*_MARKS)
    if mark is None and not any("/" not in path or _TEST_FILE.search(path) for path in scripts):
        return None
    project = files.toml("pyproject.toml")
    runner, tests = _tests(files, project)
    install, how, prefix = _install(files, project, wants_pytest=runner == "pytest")
    version, why = _version(files, project)
    step = TestStep(
        name="python",
        about=f"{how}, then {tests[0]}" if how else tests[0],
        image=f"python:{version}-slim",
        image_note=f"{why}; without `-slim` it has compilers and git",
        env=_env(files),
        lines=(
            *install,
            *(Line(command=prefix + each.command, note=each.note) for each in tests[1]),
        ),
    )
    shown = mark or next(iter(scripts))
    return Found(what="a Python project", why=f"{shown}; {tests[0]}"), step


def _tests(files: Files, project: object) -> tuple[str, tuple[str, tuple[Line, ...]]]:
    """Which program runs the tests, and the commands for it."""
    found = [path for path in files.paths if _TEST_FILE.search(path)]
    imported = "\n".join(files.text(path) for path in found[:_LOOKED_INTO])
    declared = "\n".join(
        files.text(name)
        for name in (
            "pyproject.toml",
            "setup.cfg",
            "tox.ini",
            "setup.py",
            "requirements.txt",
            "Pipfile",
            *_MORE_REQUIREMENTS,
        )
    )
    conftest = any(path.rpartition("/")[2] == "conftest.py" for path in files.paths)
    if (
        files.has("pytest.ini")
        or conftest
        or table(project, "tool", "pytest")
        or (
            found
            and ("pytest" in imported or ("pytest" in declared and "unittest" not in imported))
        )
    ):
        return "pytest", ("pytest runs the tests", (Line(command="pytest -q"),))
    if found and "unittest" in imported:
        return "unittest", ("unittest runs the tests", (Line(command=_unittest(files, found)),))
    if found:
        return "pytest", ("pytest runs the tests", (Line(command="pytest -q"),))
    note = "no tests were found: put what runs them here"
    line = Line(command="python -m compileall -q .", note=note)
    return "none", ("there are no tests, so the files are compiled", (line,))


def _unittest(files: Files, found: list[str]) -> str:
    folder = found[0].rpartition("/")[0]
    top = folder.partition("/")[0]
    if not top or files.has(f"{top}/__init__.py"):
        return "python -m unittest"
    return f"python -m unittest discover --start-directory {top}"


def _install(
    files: Files, project: object, *, wants_pytest: bool
) -> tuple[tuple[Line, ...], str, str]:
    """How what it needs gets there, in commands and in words; and what runs in it."""
    for mark, tool, install in _TOOLS:
        if files.has(mark):
            get = Line(command=f"pip install --quiet {tool}")
            told = f"{tool} installs what {mark} names"
            return (get, Line(command=install)), told, f"{tool} run "
    lines = tuple(_pip(files, project))
    named = " ".join(line.command for line in lines)
    if wants_pytest and not _brings_pytest(files, project, named):
        lines = (*lines, Line(command="pip install --quiet pytest"))
    if not lines:
        return (), "", ""
    return lines, "pip installs what it needs", ""


def _pip(files: Files, project: object) -> list[Line]:
    lines = [
        Line(command=f"pip install --quiet -r {name}")
        for name in ("requirements.txt", *_MORE_REQUIREMENTS)
        if files.has(name)
    ]
    declared = table(project, "project")
    if declared and (declared.get("dependencies") or _extra(project) or files.folder("src")):
        extra = _extra(project)
        what = f'".[{extra}]"' if extra else "."
        lines.append(Line(command=f"pip install --quiet {what}"))
    elif not declared and files.has("setup.py", "setup.cfg") and not lines:
        lines.append(Line(command="pip install --quiet ."))
    group = next((name for name in _EXTRAS if name in table(project, "dependency-groups")), None)
    if group is not None:
        lines.append(Line(command=f"pip install --quiet --group {group}"))
    return lines


def _extra(project: object) -> str | None:
    extras = table(project, "project", "optional-dependencies")
    return next((name for name in _EXTRAS if name in extras), None)


def _brings_pytest(files: Files, project: object, commands: str) -> bool:
    """Whether what is installed has pytest among it."""
    asked = [*texts(table(project, "project").get("dependencies"))]
    if extra := _extra(project):
        asked += texts(table(project, "project", "optional-dependencies").get(extra))
    for name in _EXTRAS:
        asked += texts(table(project, "dependency-groups").get(name))
    named = [name for name in ("requirements.txt", *_MORE_REQUIREMENTS) if name in commands]
    return any("pytest" in each for each in [*asked, *map(files.text, named)])


def _version(files: Files, project: object) -> tuple[str, str]:
    """The version of Python, and where it comes from."""
    pinned = re.match(r"\s*(?:cpython-|python-)?(3\.\d+)", files.text(".python-version"))
    if pinned:
        return pinned[1], "the version in .python-version"
    wanted = str(table(project, "project").get("requires-python") or "")
    for version in _VERSIONS:
        if wanted and _allowed(wanted, int(version.partition(".")[2])):
            return version, f"a version that `requires-python` ({wanted[:40]}) allows"
    return _VERSIONS[0], "the version you deploy on should stand here"


def _allowed(wanted: str, minor: int) -> bool:
    compared = {
        "<": lambda bound: minor < bound,
        "<=": lambda bound: minor <= bound,
        ">": lambda bound: minor > bound,
        ">=": lambda bound: minor >= bound,
        "==": lambda bound: minor == bound,
        "~=": lambda bound: minor >= bound,
        "!=": lambda bound: minor != bound,
    }
    return all(compared[sign](int(bound)) for sign, bound in _BOUND.findall(wanted))


def _env(files: Files) -> dict[str, str]:
    declared = files.text("pyproject.toml") + files.text("setup.cfg") + files.text("setup.py")
    # The workspace has no `.git` to take a version from.
    if any(name in declared for name in _FROM_TAGS):
        return {"SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0"}
    return {}
