"""A proposal as the text of a pipeline file, with a word on each part."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.proposing.proposals import BuildStep, Proposal, TestStep

_PLAIN = re.compile(r"[A-Za-z0-9./_][^\x00-\x1f\x7f-\x9f#]*", re.ASCII)
_NOTES = 36
"""The column where notes stand, where what is before them leaves room."""
_WIDEST = 96


def written(proposal: Proposal) -> str:
    """The file."""
    return "\n".join([*_head(), *_build(proposal), *_test(proposal), *_push(proposal)]) + "\n"


def _head() -> Iterator[str]:
    yield "# What Lading does with a push, a tag or a pull request. `lading init` wrote it from"
    yield "# what it found here; it is yours now. Try it with `lading run`, look for mistakes with"
    yield "# `lading lint`, and see what an event would start with `lading explain`."
    yield ""


def _build(proposal: Proposal) -> Iterator[str]:
    if not proposal.builds:
        return
    yield from _noted("build:", "each entry makes an image")
    for build in proposal.builds:
        yield from _one_build(build)
    yield ""


def _one_build(build: BuildStep) -> Iterator[str]:
    path = build.dockerfile if build.folder == "." else f"{build.folder}/{build.dockerfile}"
    if build.folder == ".":
        yield from _noted(f"  {build.name}: {{}}", f"built from ./{path}; it needs no settings")
        return
    yield f"  {build.name}:"
    yield from _noted(f"    context: {quoted(build.folder)}", f"the folder of {path}")


def _test(proposal: Proposal) -> Iterator[str]:
    if not proposal.tests:
        yield "# The image has no shell, so nothing can be run in it. A test in another image:"
        yield "# test:"
        yield "#   check:"
        yield "#     image: busybox:1.37"
        yield "#     commands: [ls -la]"
        yield ""
        return
    yield from _noted("test:", "each entry is a step; they run side by side")
    for test in proposal.tests:
        yield from _one_test(test, beside_build=bool(proposal.builds))
    yield ""


def _one_test(test: TestStep, *, beside_build: bool) -> Iterator[str]:
    yield f"  # {test.about}"
    yield f"  {test.name}:"
    if test.image.startswith("build."):
        yield f"    image: {{from: {test.image}}}"
    else:
        if beside_build:
            yield from _noted("    needs: []", "waits for nothing, not even for the image")
        yield from _noted(f"    image: {quoted(test.image)}", test.image_note)
    if test.env:
        yield from _noted("    env:", "the steps have no .git to ask for a version")
    for name, value in test.env.items():
        yield f"      {name}: {quoted(value)}"
    yield "    commands:"
    for line in test.lines:
        yield from _noted(f"      - {quoted(line.command)}", line.note)


def _push(proposal: Proposal) -> Iterator[str]:
    if not proposal.builds:
        yield from _image_to_be(proposal)
        return
    yield "# Takes the image to a registry once the tests have passed. Take the # signs away, and"
    yield "# put your registry here; the login is the server's and never stands in this file."
    yield "# push:"
    for build in proposal.builds:
        to = proposal.to if len(proposal.builds) == 1 else f"{proposal.to}-{build.name.lower()}"
        yield f"#   {build.name}:"
        yield f"#     to: {to}"


def _image_to_be(proposal: Proposal) -> Iterator[str]:
    """How an image would be made, where nothing here says how."""
    template = proposal.template
    if template is None:
        yield "# With a Dockerfile, `build: {app: {}}` makes an image, and `push` brings it to a"
        yield "# registry: docs/first-pipeline.md shows both."
        return
    yield "# An image needs no Dockerfile. Take the # signs away, and say how your program is run:"
    yield "# docs/how-to/templates.md. `lading dockerfile` then shows what is built."
    yield "# build:"
    yield "#   app:"
    yield f"#     template: {template.template}"
    # In quotes always: an editor would take 3.13 for a number.
    yield from (f'#     {key}: "{value}"' for key, value in template.keys.items())
    yield "# push:"
    yield "#   app:"
    yield f"#     to: {proposal.to}"


def _noted(text: str, note: str) -> Iterator[str]:
    """The line with a note behind it, or above it where it would become too long."""
    whole = f"{text:{_NOTES - 2}}  # {note}"
    if note and len(whole) > _WIDEST:
        yield f"{' ' * (len(text) - len(text.lstrip()))}# {note}"
    yield whole if note and len(whole) <= _WIDEST else text


def quoted(text: str) -> str:
    """A text as YAML reads it back, in quotes only where it needs them."""
    plain = _PLAIN.fullmatch(text) and ": " not in text and not text.endswith((":", " "))
    if plain and text not in ("~", "null", "Null", "NULL") and text.strip("-. "):
        return text
    if "'" in text or not text.isprintable():
        escaped = "".join(_escaped(each) for each in text)
        return f'"{escaped}"'
    return f"'{text}'"


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"  # noqa: PLR2004 (YAML's)
