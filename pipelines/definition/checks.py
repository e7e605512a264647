"""What no single key can tell: needs, circles, builds that are named and not there.

The checks read the tree and not the models, so that they also speak of a file that has other
mistakes: a person wants all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice
from math import prod

from pipelines import placeholders
from pipelines.definition.fields import EMPTY, near, shown
from pipelines.definition.models import MAX_STEPS
from pipelines.definition.tree import (
    MAX_PROBLEMS,
    Entries,
    Items,
    Mark,
    Node,
    Scalar,
    plain,
    problem,
)
from pipelines.ordering import Order, Place, behind
from pipelines.plan import STAGE_ORDER, Stage
from pipelines.problems import Problem
from pipelines.values import Value

_IN_IMAGES = (Stage.TEST, Stage.DEPLOY)
"""The stages whose steps run commands, in an image that they name or that is built here."""
_SMALLEST = "the smallest pipeline is `build: {web: {}}` beside a Dockerfile"


class _Named(Value):
    """A text of the file and its place."""

    text: str
    line: int
    column: int

    @property
    def mark(self) -> Mark:
        return Mark(self.line, self.column)


class _Outline(Value):
    """What a step says of other steps, as far as it can be read."""

    stage: Stage
    name: _Named
    needs: tuple[_Named, ...] | None
    image: bool
    channel: _Named | None = None
    """The channel that a deploy moves."""
    idle: bool = False
    """Whether it runs no commands."""
    source: _Named | None
    """What `from` names."""
    named: tuple[_Named, ...]
    """Texts in which the matrix may stand: names of images, the cache's key, paths to keep."""
    axes: dict[str, int]
    """The keys of its matrix, each with how many values it has."""

    @property
    def key(self) -> str:
        return f"{self.stage}.{self.name.text}"

    @property
    def count(self) -> int:
        """How many steps it becomes."""
        return prod(self.axes.values())


def check(root: Node) -> list[Problem]:
    """Every problem between the parts of a file."""
    outlines = list(_outlines(root))
    if not outlines:
        if _tried(root):
            return []
        return [problem("P030", "the pipeline has no steps", Mark(1, 1), _SMALLEST)]
    count = sum(outline.count for outline in outlines)
    if count > MAX_STEPS:
        hint = "split it into several files in `.lading/`"
        mark = outlines[min(MAX_STEPS, len(outlines) - 1)].name.mark
        return [problem("P031", f"{count} steps; there may be {MAX_STEPS}", mark, hint)]
    faults = chain(
        _needs(outlines),
        _images(outlines),
        _channels(outlines),
        _axes(outlines),
        _inputs(root),
        _circle(outlines),
    )
    return list(islice(faults, MAX_PROBLEMS))


def _tried(root: Node) -> bool:
    """Whether something of a wrong shape, which the models tell, was meant to hold steps."""
    if isinstance(root, Entries):
        return any(stage in root.entries for stage in STAGE_ORDER)
    return plain(root) is not EMPTY


def _outlines(root: Node) -> Iterator[_Outline]:
    for stage in STAGE_ORDER:
        steps = _entry(root, stage)
        if isinstance(steps, Entries):
            for name, (mark, body) in steps.entries.items():
                yield _outline(stage, _Named(text=name, line=mark.line, column=mark.column), body)


def _outline(stage: Stage, name: _Named, body: Node) -> _Outline:
    if stage is Stage.BUILD:
        return _Outline(
            stage=stage, name=name, needs=(), image=False, source=None, named=(), axes={}
        )
    image, needs = _entry(body, "image"), _entry(body, "needs")
    matrix = _entry(body, "matrix")
    channel = _entry(body, "channel") if stage is Stage.DEPLOY else None
    return _Outline(
        stage=stage,
        name=name,
        needs=None if needs is None else tuple(_texts(needs)),
        image=image is not None,
        channel=next(_texts(channel), None),
        idle=channel is not None and _entry(body, "commands") is None,
        source=next(_texts(_entry(image, "from")), None),
        named=tuple(_names(body)),
        axes=_counted(matrix) if isinstance(matrix, Entries) else {},
    )


def _names(body: Node) -> Iterator[_Named]:
    services = _entry(body, "services")
    below = services.entries.values() if isinstance(services, Entries) else ()
    images = [_entry(body, "image"), *(_entry(service, "image") for _, service in below)]
    for node in (*images, _entry(_entry(body, "cache"), "key")):
        if isinstance(node, Scalar):
            yield from _texts(node)
    yield from _texts(_entry(_entry(body, "artifacts"), "paths"))
    yield from _texts(_entry(_entry(body, "reports"), "junit"))


def _counted(matrix: Entries) -> dict[str, int]:
    """The values of each key; a list that is empty, which the models tell, counts as one."""
    return {
        key: max(len(node.items), 1) if isinstance(node, Items) else 1
        for key, (_, node) in matrix.entries.items()
    }


def _entry(node: Node | None, key: str) -> Node | None:
    if isinstance(node, Entries) and key in node.entries:
        return node.entries[key][1]
    return None


def _texts(node: Node | None) -> Iterator[_Named]:
    for item in node.items if isinstance(node, Items) else (node,):
        if isinstance(item, Scalar) and item.text is not None:
            yield _Named(text=item.text, line=item.mark.line, column=item.mark.column)


def _needs(outlines: list[_Outline]) -> Iterator[Problem]:
    keys = [outline.key for outline in outlines]
    known = set(keys)
    for outline in outlines:
        for need in outline.needs or ():
            if need.text not in known:
                hint = near(need.text, keys[:100]) or "write it as `stage.name`, like `build.web`"
                message = f"`{outline.key}` needs `{shown(need.text)}`, which is not in this file"
                yield problem("P032", message, need.mark, hint)


def _builds(outlines: list[_Outline]) -> list[str]:
    return [outline.key for outline in outlines if outline.stage is Stage.BUILD]


def _images(outlines: list[_Outline]) -> Iterator[Problem]:
    builds = _builds(outlines)
    known = set(builds)
    for outline in outlines:
        key = shown(outline.key)
        if outline.source is not None and outline.source.text not in known:
            message = f"`{key}` takes its image from `{shown(outline.source.text)}`, not built here"
            yield problem(
                "P034", message, outline.source.mark, _choice(outline.source.text, builds)
            )
        elif _wants_image(outline) and len(builds) != 1:
            count = f"{len(builds)} images" if builds else "no image"
            hint = "add `image`: a name, or `{from: build.web}`"
            message = f"`{key}` has no `image`, and this file builds {count}"
            yield problem("P035", message, outline.name.mark, hint)
        elif outline.stage is Stage.PUSH and not outline.image and _own(outline) not in known:
            message = f"`{key}` has no build `{shown(outline.name.text)}` to push"
            yield problem("P034", message, outline.name.mark, _choice(_own(outline), builds))


def _wants_image(outline: _Outline) -> bool:
    return outline.stage in _IN_IMAGES and not outline.image and not outline.idle


def _channels(outlines: list[_Outline]) -> Iterator[Problem]:
    """Channels that come after no push, so that there is nothing to move them to."""
    if not any(outline.channel for outline in outlines):
        return
    graph = Order(_places(outlines)).graph
    pushes = {outline.key for outline in outlines if outline.stage is Stage.PUSH}
    for outline in outlines:
        if outline.channel is not None and not behind(graph, outline.key) & pushes:
            message = f"`{shown(outline.key)}` moves a channel, and waits for no push"
            hint = (
                f"add one to its `needs`, like `{shown(min(pushes))}`"
                if pushes
                else "add a step under `push`, or give `commands`"
            )
            yield problem("P042", message, outline.channel.mark, hint)


def _axes(outlines: list[_Outline]) -> Iterator[Problem]:
    """Matrix placeholders of a name that the step's matrix does not give."""
    for outline, named in ((each, named) for each in outlines for named in each.named):
        for name in placeholders.names(named.text):
            axis = name.removeprefix(placeholders.MATRIX)
            if axis != name and axis not in outline.axes:
                told = ", ".join(f"${{{placeholders.MATRIX}{each}}}" for each in outline.axes)
                hint = f"there are {told}" if told else "add a `matrix` to the step"
                message = f"unknown placeholder `${{{shown(name)}}}`"
                yield problem("P028", message, named.mark, hint)


def _inputs(root: Node) -> Iterator[Problem]:
    """Placeholders of inputs that the file does not have."""
    known = set(_input_names(root))
    for text in _all_texts([_entry(root, stage) for stage in STAGE_ORDER]):
        for name in placeholders.names(text.text):
            wanted = name.removeprefix(placeholders.INPUTS)
            if wanted != name and wanted not in known:
                told = ", ".join(f"${{{placeholders.INPUTS}{each}}}" for each in sorted(known))
                hint = (
                    f"there are {told}" if told else "name it in `when: {event: manual, inputs: …}`"
                )
                message = f"unknown placeholder `${{{shown(name)}}}`"
                yield problem("P028", message, text.mark, hint)


def _input_names(root: Node) -> Iterator[str]:
    when = _entry(root, "when")
    for entry in when.items if isinstance(when, Items) else (when,):
        inputs = _entry(entry, "inputs")
        if isinstance(inputs, Entries):
            yield from inputs.entries


def _all_texts(nodes: list[Node | None]) -> Iterator[_Named]:
    """Every text below the nodes but commands, which hold no placeholders."""
    while nodes:
        node = nodes.pop()
        if isinstance(node, Entries):
            nodes += [each for key, (_, each) in node.entries.items() if key != "commands"]
        elif node is not None:
            nodes += node.items if isinstance(node, Items) else ()
            yield from _texts(node) if isinstance(node, Scalar) else ()


def _choice(wanted: str, builds: list[str]) -> str:
    alike = near(wanted, builds[:100])
    if alike or not builds:
        return alike or "add it under `build`"
    return f"take one of this file's: `image: {{from: {shown(builds[0])}}}`"


def _own(outline: _Outline) -> str:
    return f"{Stage.BUILD}.{outline.name.text}"


def _places(outlines: list[_Outline]) -> list[Place]:
    known = {outline.key for outline in outlines}
    return [
        Place(
            key=outline.key,
            stage=outline.stage,
            needs=None
            if outline.needs is None
            else tuple(need.text for need in outline.needs if need.text in known),
        )
        for outline in outlines
    ]


def _circle(outlines: list[_Outline]) -> Iterator[Problem]:
    by_key = {outline.key: outline for outline in outlines}
    try:
        TopologicalSorter(Order(_places(outlines)).graph).prepare()
    except CycleError as error:
        # The sorter names each step before the one that waits for it.
        circle = [key for key in reversed(error.args[1]) if key in by_key]
        # A whole stage may stand where the circle was cut: close it again by a step's name.
        circle = circle if circle[0] == circle[-1] else [*circle, circle[0]]
        path = " → ".join(f"`{shown(key)}`" for key in circle[:10])
        hint = "take one of these needs out; a step without `needs` waits for the stage before it"
        yield problem(
            "P033", f"steps wait for each other: {path}", by_key[circle[0]].name.mark, hint
        )
