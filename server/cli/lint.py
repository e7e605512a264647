"""`lading lint`: every mistake in pipeline files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipelines.checkout import DefinitionFiles, in_folder, look_in_folder, root_of
from pipelines.definition.tree import MAX_BYTES
from pipelines.linting import Linted, lint
from pipelines.parsing import FOLDER, SINGLE_FILE
from pipelines.problems import Severity
from server.cli.checkouts import known
from server.cli.errors import UsageError
from server.cli.problems import as_annotations, as_data, as_text, counted
from server.cli.terminal import paint_for, tolerant

FORMATS = ("text", "json", "github")
STDIN = "-"
_STDIN_NAME = "<stdin>"


def run(names: Sequence[str], form: str, templates: Path | None) -> bool:
    """Print what is wrong; True where nothing is.

    Raises:
        UsageError: There is no such file, no such format, or nothing to look at.
    """
    if form not in FORMATS:
        raise UsageError(f"--format: '{form}' is none of {', '.join(FORMATS)}")
    found = _named(names) if names else _here()
    here = Path.cwd()
    look = None if names else partial(look_in_folder, root_of(here) or here)
    linted = lint(found.files, found.unreadable, templates=known(templates), look=look)
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    {"text": _text, "json": _json, "github": _github}[form](linted, found)
    return all(each.fine for each in linted)


def _here() -> DefinitionFiles:
    here = Path.cwd()
    found = in_folder(root_of(here) or here)
    if not found.files and not found.unreadable:
        raise UsageError(nothing_found(root_of(here) or here))
    return found


def nothing_found(root: Path) -> str:
    """The sentence for a repository without a pipeline."""
    return (
        f"no pipeline in {root} (looked for {SINGLE_FILE}, {FOLDER}/*.yml): "
        "`lading init` writes one"
    )


def _named(names: Sequence[str]) -> DefinitionFiles:
    files: dict[str, bytes] = {}
    for name in names:
        if name == STDIN:
            files[_STDIN_NAME] = _beginning(sys.stdin.buffer)
            continue
        try:
            with Path(name).open("rb") as file:
                files[os.fsencode(name).decode("utf-8", "replace")] = _beginning(file)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"{name} cannot be read: {why}") from error
    return DefinitionFiles(files=files)


def _beginning(file: BinaryIO) -> bytes:
    """As much as it takes to see that a file is too large."""
    return file.read(MAX_BYTES + 1)


def _text(linted: Sequence[Linted], found: DefinitionFiles) -> None:
    paint = paint_for(sys.stdout)
    problems = [problem for each in linted for problem in each.problems]
    for line in as_text(problems, found.files, paint):
        print(line)
    files = counted(len(linted), "file")
    if problems:
        print(f"{paint.red(counted(len(problems), 'problem'))} in {files}")
    else:
        print(f"{paint.green('fine')}: {', '.join(each.file for each in linted)}")


def _json(linted: Sequence[Linted], _found: DefinitionFiles) -> None:
    data = {
        "fine": all(each.fine for each in linted),
        "files": [each.file for each in linted],
        "problems": [as_data(problem) for each in linted for problem in each.problems],
    }
    print(json.dumps(data, indent=2, ensure_ascii=True))


def _github(linted: Sequence[Linted], _found: DefinitionFiles) -> None:
    problems = [problem for each in linted for problem in each.problems]
    for line in as_annotations(problems):
        print(line)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    print(f"{counted(errors, 'error')} in {counted(len(linted), 'file')}")
