"""YAML text to a tree whose every part knows its place; bounded, whatever the text.

PyYAML reads the events (its C parser where there is one). Its composer is not used: it recurses as
deep as a stranger's file nests, keeps the last of two equal keys and follows aliases for ever.
Scalars stay texts (no `on: true`, no Norway problem); only a plain nothing, `~` or `null` is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import yaml

from pipelines.definition.fields import EMPTY, shown
from pipelines.problems import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000
"""Texts, lists and maps, those behind an alias counted each time."""
MAX_PROBLEMS = 100
"""Problems told of one file; nobody reads more."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NOT_TEXT = re.compile(
    "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.1, 5.1
)
_NO_VALUE = re.compile("[\0\ud800-\udfff]")  # can come from escapes in double quotes
_NULLS = ("", "~", "null", "Null", "NULL")
_HINTS = {
    "cannot start any token": "indent with spaces, not tabs; put texts that start with a sign "
    "such as @, ` or % in quotes",
    "mapping values are not allowed": "a text that holds `: ` must stand in quotes",
    "block mapping": "lines of one map start in the same column",
    "block collection": "lines of one list start in the same column",
    "flow": "a bracket is not closed",
    "quoted scalar": "a quote is not closed",
}


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in the file, both numbers from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: a text, or None."""

    mark: Mark
    text: str | None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]
    weight: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Keys and values, with the place of each key."""

    mark: Mark
    entries: dict[str, tuple[Mark, Node]]
    weight: int


Node = Scalar | Items | Entries


def problem(code: str, message: str, mark: Mark | None = None, hint: str | None = None) -> Problem:
    """A problem at that place; the file's name is put in by parsing."""
    line, column = (mark.line, mark.column) if mark else (None, None)
    return Problem(code=code, message=message, hint=hint, line=line, column=column)


def plain(node: Node) -> object:
    """The tree as dicts, lists, texts, and `EMPTY` for nothing."""
    if isinstance(node, Scalar):
        return EMPTY if node.text is None else node.text
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, (_, value) in node.entries.items()}


def compose(text: str) -> tuple[Node | None, list[Problem]]:
    """The file's tree, and what is wrong with it as YAML.

    The tree is None where nothing can be said about its content: no YAML, or beyond a limit.
    """
    if found := _NOT_TEXT.search(text):
        return None, [_unreadable(text, found.start())]
    composer = _Composer(text)
    try:
        root = composer.document()
    except _RefusedError as refused:
        return None, [*composer.problems, refused.problem]
    except yaml.YAMLError as error:
        return None, [*composer.problems, _not_yaml(error)]
    return root, composer.problems


class _RefusedError(Exception):
    def __init__(self, reason: Problem) -> None:
        super().__init__(reason.message)
        self.problem = reason


@dataclass(slots=True)
class _Composer:
    text: str
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    weight: int = 0

    def document(self) -> Node:
        """The one document of the file; nothing at all is None."""
        events = iter(yaml.parse(self.text, Loader=_LOADER))
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._fault(
                        "P005", "a second YAML document", _mark(event), "one file, one pipeline"
                    )
                    return root
                root = self._node(next(events), events, depth=1)
        return root or Scalar(mark=Mark(1, 1), text=None)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], *, depth: int) -> Node:
        mark = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            known = self._alias(str(event.anchor), mark)
            self._count(known.weight, mark)
            return known
        # Where a node is awaited come an alias, a scalar, or the start of a list or map.
        event = cast("yaml.ScalarEvent | yaml.CollectionStartEvent", event)
        self._tag(event.tag, mark)
        if depth > MAX_DEPTH:
            raise _RefusedError(problem("P003", f"nested deeper than {MAX_DEPTH} levels", mark))
        self._count(1, mark)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(mark=mark, text=self._value(event, mark))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._items(mark, events, depth)
        else:
            node = self._entries(mark, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _items(self, mark: Mark, events: Iterator[yaml.Event], depth: int) -> Items:
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, depth=depth + 1))
        return Items(mark=mark, items=tuple(items), weight=1 + sum(item.weight for item in items))

    def _entries(self, mark: Mark, events: Iterator[yaml.Event], depth: int) -> Entries:
        entries: dict[str, tuple[Mark, Node]] = {}
        weight = 1
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, depth=depth + 1)
            value = self._node(next(events), events, depth=depth + 1)
            weight += key.weight + value.weight
            self._entry(entries, _mark(event), key, value)
        return Entries(mark=mark, entries=entries, weight=weight)

    def _entry(
        self, entries: dict[str, tuple[Mark, Node]], mark: Mark, key: Node, value: Node
    ) -> None:
        if not isinstance(key, Scalar):
            self._fault("P005", "a list or map as a key", mark, "keys are plain texts")
        elif (name := key.text or "") in entries:
            first = entries[name][0].line
            self._fault(
                "P006", f"duplicate key `{shown(name)}`", mark, f"it stands in line {first} too"
            )
        else:
            entries[name] = (mark, value)

    def _alias(self, anchor: str, mark: Mark) -> Node:
        if anchor not in self.anchors:
            name = shown(anchor)
            # Also an alias inside of its own anchor: there is no such thing as an endless pipeline.
            hint = f"put `&{name}` before the value it stands for, further up"
            self._fault("P001", f"alias `*{name}` stands for nothing", mark, hint)
            return Scalar(mark=mark, text=None)
        return self.anchors[anchor]

    def _count(self, weight: int, mark: Mark) -> None:
        self.weight += weight
        if self.weight > MAX_NODES:
            hint = "an alias counts as all it stands for"
            raise _RefusedError(problem("P003", f"more than {MAX_NODES} values", mark, hint))

    def _value(self, event: yaml.ScalarEvent, mark: Mark) -> str | None:
        if event.implicit[0] and event.value in _NULLS:
            return None
        if _NO_VALUE.search(event.value):
            self._fault("P004", "a character that is not text", mark, "take it out")
            return None
        return str(event.value)

    def _tag(self, tag: str | None, mark: Mark) -> None:
        if tag is not None:
            hint = "write the value plainly: every value is read as text first"
            self._fault("P005", f"the YAML tag `{shown(tag)}`", mark, hint)

    def _fault(self, code: str, message: str, mark: Mark, hint: str) -> None:
        self.problems.append(problem(code, message, mark, hint))


def _mark(event: yaml.Event) -> Mark:
    start = cast("yaml.Mark", event.start_mark)
    return Mark(start.line + 1, start.column + 1)


def _unreadable(text: str, index: int) -> Problem:
    before = text[:index]
    mark = Mark(before.count("\n") + 1, index - before.rfind("\n"))
    return problem("P004", f"character U+{ord(text[index]):04X} is not text", mark, "take it out")


def _not_yaml(error: yaml.YAMLError) -> Problem:
    place = getattr(error, "problem_mark", None)
    mark = Mark(place.line + 1, place.column + 1) if place else None
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    message = ", ".join(part for part in parts if part)
    hint = next((hint for part, hint in _HINTS.items() if part in message), None)
    return problem("P001", f"not YAML: {shown(message, 120)}", mark, hint)
