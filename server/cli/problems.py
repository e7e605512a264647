"""Problems for people and for programs: as a compiler shows them, as JSON, as annotations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.codes import CODES, documented
from pipelines.problems import Problem, Severity
from server.cli.terminal import Paint, inert, width

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML 1.1, 5.4
_WORD = re.compile(r""""[^"]*"?|'[^']*'?|[^\s,\[\]{}]+""")
_MOST = 100
"""Characters of a line that are shown."""
_BEFORE = 40
"""Characters shown before the place, where a line is longer."""

Texts = Mapping[str, bytes]


def as_text(problems: Sequence[Problem], texts: Texts, paint: Paint) -> Iterator[str]:
    """Each problem with the line it is in, and a caret where to look."""
    for problem in problems:
        yield _head(problem, paint)
        yield from _excerpt(problem, texts.get(problem.file or "", b""), paint)
        if problem.hint:
            yield f"  {paint.cyan('=')} {paint.bold('hint:')} {inert(problem.hint)}"
        yield paint.dim(f"  = see {documented(problem.code)}")
        yield ""


def _head(problem: Problem, paint: Paint) -> str:
    place = ":".join(
        str(part) for part in (problem.file, problem.line, problem.column) if part is not None
    )
    error = problem.severity is Severity.ERROR
    word = (paint.red if error else paint.yellow)(problem.severity.value)
    message = paint.bold(f"{inert(problem.message)} ({problem.code})")
    return f"{paint.bold(inert(place))}: {word}: {message}"


def _excerpt(problem: Problem, text: bytes, paint: Paint) -> Iterator[str]:
    if problem.line is None or problem.column is None:
        return
    lines = _BREAK.split(text.decode("utf-8-sig", "replace"))
    line = lines[problem.line - 1] if problem.line <= len(lines) else ""
    if not line.strip():
        return
    start = min(problem.column - 1, len(line))
    found = _WORD.match(line, start)
    end = start + max(len(found[0].rstrip(":")) if found else 1, 1)
    cut = start - _BEFORE if len(line) > _MOST and start > _BEFORE else 0
    shown = inert(line[cut : cut + _MOST])
    before, marked = shown[: start - cut], shown[start - cut : end - cut]
    number = str(problem.line)
    colour = paint.red if problem.severity is Severity.ERROR else paint.yellow
    gutter = " " * len(number)
    yield f" {paint.cyan(f'{gutter} |')}"
    yield f" {paint.cyan(f'{number} |')} {shown}"
    yield f" {paint.cyan(f'{gutter} |')} {' ' * width(before)}{colour('^' * max(width(marked), 1))}"


def as_annotations(problems: Sequence[Problem]) -> Iterator[str]:
    """Workflow commands that GitHub shows beside the lines.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    for problem in problems:
        title = CODES[problem.code].title if problem.code in CODES else "problem"
        given = {
            "file": problem.file,
            "line": problem.line,
            "col": problem.column,
            "title": f"{problem.code} {title}",
        }
        places = ",".join(
            f"{key}={_property(str(value))}" for key, value in given.items() if value is not None
        )
        hint = f": {problem.hint}" if problem.hint else ""
        yield f"::{problem.severity} {places}::{_data(problem.message + hint)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_data(problem: Problem) -> dict[str, Any]:
    """A problem for programs."""
    return {**problem.model_dump(mode="json"), "documentation": documented(problem.code)}


def counted(count: int, what: str, plural: Callable[[str], str] = lambda word: f"{word}s") -> str:
    """`1 problem`, `3 problems`."""
    return f"{count} {what if count == 1 else plural(what)}"
