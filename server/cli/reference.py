"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from server.cli import app
from server.cli.watching import Ending

_HEAD = """\
# Commands

<!-- Written by scripts/docs from server/cli; change that, not this. -->

`--help` of each says the same. [Use the command line](../how-to/command-line.md) tells which to
take.
"""
_CODES = {
    Ending.SUCCESS: "it was done; of a run that was waited for: it passed",
    Ending.FAILURE: "it was not; of a run that was waited for: its own work failed",
    2: "wrong use, or a faulty configuration",
    Ending.ERROR: "a run that was waited for could not be tried or was cancelled, or nothing was "
    "started",
    4: "the server cannot be asked, or says no",
    130: "Ctrl-C",
}


def reference() -> str:
    """`docs/reference/commands.md`."""
    return "\n".join([_HEAD, *_all(get_command(app), ("lading",)), *_exit_codes()])


def _all(command: Any, path: tuple[str, ...]) -> Iterator[str]:  # noqa: ANN401 - click's own
    below = getattr(command, "commands", None)
    if below is None:
        yield from _one(command, path)
        return
    for name in sorted(below):
        yield from _all(below[name], (*path, name))


def _one(command: Any, path: tuple[str, ...]) -> Iterator[str]:  # noqa: ANN401 - see above
    yield f"## `{' '.join(path)}`\n"
    yield f"{command.help}\n"
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    words = [_argument(one) for one in arguments]
    has_options = len(arguments) < len(shown)
    yield f"    {' '.join([*path, *(['[OPTIONS]'] if has_options else []), *words])}\n"
    if not shown:
        return
    yield "| | meaning |"
    yield "|---|---|"
    for one in shown:
        name = _argument(one) if one in arguments else _option(one)
        yield f"| `{name}` | {_cell(one.help or '')}{_default(one)} |"
    yield ""


def _argument(one: Any) -> str:  # noqa: ANN401 - see above
    name = (one.metavar or one.name.upper()).strip("[]").removesuffix("]...")
    shown = name if one.required else f"[{name}]"
    return f"{shown}..." if one.nargs == -1 else shown


def _option(one: Any) -> str:  # noqa: ANN401 - see above
    names = ", ".join(sorted(one.opts, key=len))
    if one.is_flag:
        return names
    return f"{names} {one.metavar or one.name.upper()}"


def _default(one: Any) -> str:  # noqa: ANN401 - see above
    wanted = one.default is not None and not getattr(one, "is_flag", False)
    variable = f" Variable: `{one.envvar}`." if getattr(one, "envvar", None) else ""
    return (f" Default: {one.default}." if wanted else "") + variable


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | means |"
    yield "|---|---|"
    for code, meaning in _CODES.items():
        yield f"| {int(code)} | {meaning} |"
    yield ""
