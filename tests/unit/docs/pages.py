"""Pages of documentation read into what tests ask about: blocks, links, code spans, anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipelines.values import Value

_FENCE = re.compile(r"( *)(`{3,}|~{3,}) *([^`]*)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"#{1,6} +(.*?) *#*")
_ELSEWHERE = re.compile(r"[a-z]+:")
_MACHINE = frozenset({"sh", "bash"})


class Block(Value):
    """A fenced block."""

    page: str
    line: int
    """Of its first line of text, from 1."""
    info: str
    """What stands behind the fence: `yaml`, `yaml problem`."""
    text: str

    def __str__(self) -> str:
        """`docs/first-pipeline.md:12`."""
        return f"{self.page}:{self.line}"


class Page(Value):
    """One page."""

    name: str
    """From the repository's root."""
    blocks: tuple[Block, ...]
    prose: str
    """The text without its blocks."""

    def of(self, *kinds: str) -> list[Block]:
        """The blocks of these kinds, whatever else stands behind the fence."""
        return [block for block in self.blocks if block.info.split(" ")[0] in kinds]

    @property
    def links(self) -> list[str]:
        """Links to places in this repository."""
        found = _LINK.findall(_SPAN.sub("", self.prose))
        return [link for link in found if not _ELSEWHERE.match(link)]

    @property
    def spans(self) -> list[str]:
        """Code within the text; one that goes over a line's end is joined."""
        return _SPAN.findall(re.sub(r"(?<=\S)\n *(?=\S)", " ", self.prose))

    @property
    def anchors(self) -> frozenset[str]:
        """What a link may name behind `#`, as GitHub makes it from headings."""
        found: list[str] = []
        for heading in headings(self.prose):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            found.append(f"{anchor}-{count}" if (count := found.count(anchor)) else anchor)
        return frozenset(found)

    @property
    def commands(self) -> list[list[str]]:
        """Every `lading …` in shell blocks and code spans, as words; comments are left out."""
        lines = [line for block in self.of(*_MACHINE) for line in block.text.splitlines()]
        return [words for line in [*lines, *self.spans] for words in _commands(line)]


def read(root: Path, path: Path) -> Page:
    """A page of the repository at `root`."""
    name = path.relative_to(root).as_posix()
    return parse(name, path.read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Page:
    """A page's text.

    Raises:
        ValueError: A fence is never closed.
    """
    blocks: list[Block] = []
    prose: list[str] = []
    inside: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        fence = _FENCE.fullmatch(line)
        if inside is None and fence:
            inside = (number + 1, fence[1], f"{fence[2]}\0{fence[3].strip()}", [])
            prose.append("")
        elif inside is None:
            prose.append(line)
        elif fence and line.strip() == inside[2].partition("\0")[0]:
            start, _, opened, lines = inside
            info = opened.partition("\0")[2]
            blocks.append(Block(page=name, line=start, info=info, text="\n".join(lines) + "\n"))
            inside = None
        else:
            inside[3].append(line.removeprefix(inside[1]))
    if inside is not None:
        raise ValueError(f"{name}:{inside[0] - 1} the block is never closed")
    return Page(name=name, blocks=tuple(blocks), prose="\n".join(prose) + "\n")


def headings(prose: str) -> Iterator[str]:
    """The headings of a text without blocks."""
    for line in prose.splitlines():
        if found := _HEADING.fullmatch(line):
            yield found[1]


def _commands(line: str) -> Iterator[list[str]]:
    if not re.match(r"(?:\S*/)?lading ", line.strip()):
        return
    words = shlex.split(line.replace("…", ""), comments=True)[1:]
    if words:
        yield words
