"""JUnit XML, as pytest, Jest, Maven, Go and the rest write it: read as it comes, within bounds.

There is no standard; this takes what the frameworks have in common:
https://github.com/testmoapp/junitxml

The XML is a stranger's. defusedxml refuses documents with a DTD, and with it entities of every
kind; nothing is ever fetched. No tree is made: memory is bounded by the bounds below.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from pipelines.reports.model import Case, CaseState, Report

MAX_CASES = 20_000
MAX_NAME = 500
"""Characters of a name or a file."""
MAX_MESSAGE = 1000
MAX_DETAILS = 16 * 1024
MAX_TEXT = 2 * 2**20
"""Characters of all messages and details together."""
MAX_DEPTH = 64
MAX_PROBLEMS = 20

_PIECE = 64 * 1024
"""Bytes given to the parser at once: between two pieces its bounds are looked at."""
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?(?:[eE]-?[0-9]{1,2})?", re.ASCII)
_ROOTS = ("testsuites", "testsuite")
_VERDICTS = {
    "failure": CaseState.FAILED,
    "error": CaseState.ERROR,
    "skipped": CaseState.SKIPPED,
}
_FLAKY = ("flakyFailure", "flakyError")
"""Maven's: it failed, was run again, and passed."""
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), " ")


class _RefusedError(SAXException):
    """The document is none that is read here."""


class JUnit:
    """Reads the report files of one step into one report.

    Args:
        cleaned: Takes out of a text what must not be shown.
    """

    def __init__(self, cleaned: Callable[[str], str] = str) -> None:
        self._gathered = _Gathered(cleaned)

    @property
    def found(self) -> bool:
        """Whether there was any file, readable or not."""
        return self._gathered.files > 0

    def read(self, path: str, pieces: Iterable[bytes]) -> None:
        """Read one file. What is wrong with it becomes a problem of the report."""
        self._gathered.files += 1
        parser = DefusedExpatParser(forbid_dtd=True)
        parser.setContentHandler(_Handler(self._gathered))
        try:
            empty = True
            for piece in pieces:
                for start in range(0, len(piece), _PIECE):
                    empty = False
                    parser.feed(piece[start : start + _PIECE])
            if empty:
                raise _RefusedError("it is empty")
            parser.close()
        except DefusedXmlException:
            self._gathered.problem(f"{path} is not read: it has a DTD or entities")
        except SAXParseException as error:
            place = f"line {error.getLineNumber()}, column {(error.getColumnNumber() or 0) + 1}"
            self._gathered.problem(f"{path} is no whole XML ({place}: {error.getMessage()})")
        except (SAXException, ValueError, LookupError) as error:
            # Besides the parser's own errors: an encoding that Python does not know.
            self._gathered.problem(f"{path} is no JUnit report: {error}")
        finally:
            with contextlib.suppress(SAXException):
                parser.setContentHandler(ContentHandler())

    def report(self) -> Report:
        """All that was read."""
        return self._gathered.report()


class _Gathered:
    """What several files come to."""

    def __init__(self, cleaned: Callable[[str], str]) -> None:
        self.files = 0
        self._cleaned = cleaned
        self._room = MAX_TEXT
        self._cases: list[Case] = []
        self._counts = dict.fromkeys(CaseState, 0)
        self._seconds = 0.0
        self._problems: list[str] = []

    def problem(self, sentence: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(self.short(sentence, MAX_NAME))

    def short(self, text: str, most: int) -> str:
        """A text that can be shown: without what is secret, without control characters, cut."""
        # Cleaned before it is cut: half of a secret would not be found any more.
        clean = self._cleaned(text).translate(_CONTROL).strip()
        return clean if len(clean) <= most else clean[: most - 1] + "…"

    def text(self, text: str, most: int) -> str:
        """The same within the room that all texts have."""
        short = self.short(text, min(most, max(self._room, 1)))
        self._room -= len(short)
        return short

    def case(self, case: Case) -> None:
        self._counts[case.state] += 1
        self._seconds += case.seconds
        if len(self._cases) < MAX_CASES:
            self._cases.append(case)

    def report(self) -> Report:
        total = sum(self._counts.values())
        return Report(
            cases=tuple(self._cases),
            total=total,
            failed=self._counts[CaseState.FAILED],
            errors=self._counts[CaseState.ERROR],
            skipped=self._counts[CaseState.SKIPPED],
            seconds=round(self._seconds, 3),
            left_out=total - len(self._cases),
            problems=tuple(self._problems),
        )


class _Handler(ContentHandler):
    """Takes the elements of one file."""

    def __init__(self, gathered: _Gathered) -> None:
        super().__init__()
        self._gathered = gathered
        self._depth = 0
        self._suites: list[str] = []
        self._case: dict[str, str] | None = None
        self._state = CaseState.PASSED
        self._flaky = False
        self._message = ""
        self._verdict: CaseState | None = None
        """Whose text is being read."""
        self._text: list[str] = []
        self._length = 0
        self._details = ""

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 (SAX's name)
        """See SAX."""
        name = name.rpartition(":")[2]
        if not self._depth and name not in _ROOTS:
            raise _RefusedError(f"its root is <{name[:40]}>, not <testsuites> or <testsuite>")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(f"it nests more than {MAX_DEPTH} elements")
        if name == "testsuite":
            self._suites.append(str(attrs.get("name", "")))
        elif name == "testcase":
            self._case = {key: str(value) for key, value in attrs.items()}
            self._state, self._flaky = CaseState.PASSED, False
            self._message = self._details = ""
        elif self._case is not None and name in _FLAKY:
            self._flaky = True
        elif self._case is not None and name in _VERDICTS:
            self._begin(_VERDICTS[name], attrs)

    def _begin(self, verdict: CaseState, attrs: AttributesImpl) -> None:
        """A test did not pass; of several reasons the first is told, but a failure over a skip."""
        if self._state.bad or (self._state is verdict):
            return
        self._state = self._verdict = verdict
        self._message = str(attrs.get("message", "") or attrs.get("type", ""))
        self._text, self._length, self._details = [], 0, ""

    def characters(self, content: str) -> None:
        """See SAX."""
        # A little more than is shown, so that a secret at the very end is whole.
        if self._verdict is not None and self._length < 2 * MAX_DETAILS:
            self._text.append(content)
            self._length += len(content)

    def endElement(self, name: str) -> None:  # noqa: N802 (SAX's name)
        """See SAX."""
        name = name.rpartition(":")[2]
        self._depth -= 1
        if name == "testsuite" and self._suites:
            self._suites.pop()
        elif name == "testcase" and self._case is not None:
            self._end(self._case)
            self._case = None
        elif self._verdict is not None and _VERDICTS.get(name) is self._verdict:
            self._details = "".join(self._text)
            self._verdict, self._text = None, []

    def _end(self, given: dict[str, str]) -> None:
        take, suite = self._gathered, self._suites[-1] if self._suites else ""
        details = self._details if self._state.bad else ""
        message = self._message or details.strip().partition("\n")[0]
        line = given.get("line", "")
        take.case(
            Case(
                name=take.short(given.get("name", ""), MAX_NAME) or "(no name)",
                suite=take.short(suite, MAX_NAME),
                class_name=take.short(given.get("classname", ""), MAX_NAME),
                file=take.short(given.get("file", ""), MAX_NAME),
                line=int(line) if line.isascii() and line.isdigit() and len(line) < 8 else None,  # noqa: PLR2004
                seconds=_seconds(given.get("time", "")),
                state=self._state,
                message=take.text(message, MAX_MESSAGE),
                details=take.text(details, MAX_DETAILS),
                flaky=self._flaky,
            )
        )


def _seconds(text: str) -> float:
    """A time as frameworks write it; Maven puts a comma between thousands."""
    plain = text.strip().replace(",", "")
    return float(plain) if _SECONDS.fullmatch(plain) else 0.0
