"""A Dockerfile taken apart into stages and instructions, as far as must be known of one.

The builder is who reads it; this is for what must be known beside it. What is not understood here
is left out, never refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from pipelines.values import Value

_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)
_HEREDOC = re.compile(r"(?<!<)<<(-?)(['\"]?)(\w+)\2")
_FLAG = re.compile(r"--([\w-]+)(?:=(\S*))?\s*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))")


class Instruction(Value):
    """One instruction, its continued lines joined."""

    word: str
    """In capitals."""
    flags: tuple[tuple[str, str], ...] = ()
    rest: str = ""

    def flag(self, name: str) -> str | None:
        """The value of a flag; None where it is not given."""
        return next((value for key, value in self.flags if key == name), None)

    @property
    def words(self) -> tuple[str, ...]:
        """What it is given, by words or as JSON."""
        if self.rest.startswith("["):
            try:
                told = json.loads(self.rest)
            except ValueError:
                told = None
            if isinstance(told, list):
                return tuple(str(each) for each in told)
        return tuple(self.rest.split())


class Stage(Value):
    """What stands from one FROM to the next."""

    base: str
    """As written, with the arguments that are known put in."""
    name: str
    """In small letters; empty where it has none."""
    instructions: tuple[Instruction, ...] = ()


class Recipe(Value):
    """A whole Dockerfile."""

    stages: tuple[Stage, ...]
    arguments: frozenset[str] = frozenset()
    """Names of all arguments that it declares."""

    def declares(self, name: str) -> bool:
        """Whether it takes an argument of that name."""
        return name in self.arguments

    def number(self, target: str | None) -> int | None:
        """Which stage a build of `target` makes; the last one where it is None."""
        if target is None:
            return len(self.stages) - 1 if self.stages else None
        return self.earlier(len(self.stages), target)

    def earlier(self, number: int, name: str) -> int | None:
        """The stage before stage `number` that a name in it means; None: it is an image."""
        for one in reversed(range(number)):
            if name.lower() == self.stages[one].name or name == str(one):
                return one
        return None

    def chain(self, number: int) -> tuple[int, ...]:
        """The stages that a stage stands on, the lowest first, and itself."""
        found = [number]
        while (below := self.earlier(found[0], self.stages[found[0]].base)) is not None:
            found.insert(0, below)
        return tuple(found)

    def base(self, target: str | None) -> str:
        """The image that a target's lowest stage starts from; empty where it is from scratch."""
        number = self.number(target)
        if number is None:
            return ""
        base = self.stages[self.chain(number)[0]].base
        return "" if base == "scratch" else base

    def images(self) -> tuple[str, ...]:
        """Every image from elsewhere that it names, as far as that can be told."""
        named: dict[str, None] = {}
        for number, stage in enumerate(self.stages):
            sources = [name for each in stage.instructions for name in origins(each)]
            for name in (stage.base, *sources):
                elsewhere = name and name != "scratch" and "$" not in name
                if elsewhere and self.earlier(number, name) is None:
                    named[name] = None
        return tuple(named)


def origins(instruction: Instruction) -> Iterator[str]:
    """The stages and images that an instruction takes files from."""
    if instruction.word in ("COPY", "ADD") and (name := instruction.flag("from")):
        yield name
    if instruction.word == "RUN":
        for key, value in instruction.flags:
            told = dict(part.partition("=")[::2] for part in value.split(","))
            if key == "mount" and told.get("from"):
                yield told["from"]


def read_recipe(text: str, args: Mapping[str, str]) -> Recipe:
    """A Dockerfile's stages, with build arguments put into the names of bases."""
    known: dict[str, str] = {}
    declared: set[str] = set()
    stages: list[Stage] = []
    for instruction in _instructions(text):
        if instruction.word == "ARG":
            declared |= {word.partition("=")[0] for word in instruction.words}
        if instruction.word == "FROM":
            words = instruction.words
            base = _filled(words[0], known) if words else ""
            named = len(words) > 2 and words[1].upper() == "AS"  # noqa: PLR2004 - name AS stage
            stages.append(Stage(base=base, name=words[2].lower() if named else ""))
        elif stages:
            last = stages[-1]
            more = (*last.instructions, instruction)
            stages[-1] = last.model_copy(update={"instructions": more})
        elif instruction.word == "ARG":
            known |= _defaults(instruction, known, args)
    return Recipe(stages=tuple(stages), arguments=frozenset(declared))


def _defaults(
    instruction: Instruction, known: Mapping[str, str], args: Mapping[str, str]
) -> dict[str, str]:
    """The values of arguments that stand before the first FROM."""
    found = (word.partition("=") for word in instruction.words)
    return {
        name: args.get(name, _filled(default.strip("\"'"), known)) for name, _, default in found
    }


def _filled(text: str, known: Mapping[str, str]) -> str:
    """The text with its variables' values; one that is not known is left as it stands."""

    def value(found: re.Match[str]) -> str:
        name, sign, other = found[1] or found[4], found[2], found[3] or ""
        given = known.get(name, "")
        if sign == "+":
            return other if given else ""
        if sign == "-":
            return given or other
        return given if name in known else found[0]

    return _VARIABLE.sub(value, text)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = text.splitlines()
    escape = next((m[1] for line in lines[:2] if (m := _ESCAPE.match(line))), "\\")
    whole = ""
    left = iter(lines)
    for line in left:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.endswith(escape):
            whole += stripped[: -len(escape)] + " "
            continue
        told = _instruction(whole + stripped)
        whole = ""
        if told.word in ("RUN", "COPY", "ADD"):
            for found in _HEREDOC.finditer(told.rest):
                _skip(left, found[3], tabs=bool(found[1]))
        yield told
    if whole:
        yield _instruction(whole)


def _skip(left: Iterator[str], end: str, *, tabs: bool) -> None:
    for line in left:
        if (line.lstrip("\t") if tabs else line) == end:
            return


def _instruction(text: str) -> Instruction:
    word, _, rest = text.strip().partition(" ")
    rest, flags = rest.strip(), []
    while found := _FLAG.match(rest):
        flags.append((found[1], found[2] or ""))
        rest = rest[found.end() :]
    return Instruction(word=word.upper(), flags=tuple(flags), rest=rest)


_NAMED = re.compile(
    r"(^\s*FROM\s+(?:--\S+\s+)*|--from=|,from=|=from=)(\S+?)(?=[\s,]|$)",
    re.IGNORECASE | re.MULTILINE,
)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A Dockerfile with other names for the images that it takes from elsewhere."""
    return _NAMED.sub(lambda found: found[1] + names.get(found[2], found[2]), text)
