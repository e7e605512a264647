"""`lading dockerfile`: the Dockerfile of a build, as the builder gets it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pipelines.checkout import Checkout, Tree, in_tree, look_in_tree
from pipelines.definition.models import Definition, Templated
from pipelines.linting import lint
from pipelines.parsing import parse
from pipelines.recipes import Catalogue, render_builds, sought
from server.cli.checkouts import known, opened
from server.cli.errors import UsageError
from server.cli.lint import nothing_found
from server.cli.problems import as_text
from server.cli.terminal import paint_for, tolerant


def run(build: str | None, *, file: str | None, commit: str | None, templates: Path | None) -> None:
    """Print it.

    Raises:
        UsageError: There is no checkout, no such build or file, or the pipeline is broken.
    """
    tolerant(sys.stdout)
    catalogue = known(templates)
    with opened(commit) as (checkout, tree):
        definition = _definition(checkout, tree, file, catalogue)
        name = _chosen(definition, build)
        sys.stdout.write(_text(tree, definition, name, catalogue))


def _definition(
    checkout: Checkout, tree: Tree, file: str | None, catalogue: Catalogue
) -> Definition:
    found = in_tree(tree).files
    if not found:
        raise UsageError(nothing_found(checkout.root))
    if file is None and len(found) > 1:
        raise UsageError(
            f"there are several pipeline files: choose one with --file ({_all(found)})"
        )
    path = file or next(iter(found))
    if path not in found:
        raise UsageError(f"--file: there is no pipeline file {path} (there are {_all(found)})")
    (linted,) = lint({path: found[path]}, templates=catalogue, look=partial(look_in_tree, tree))
    definition = parse(found[path], path, catalogue).definition if linted.fine else None
    if definition is None:
        told = "\n".join(as_text(linted.problems, found, paint_for(sys.stderr)))
        raise UsageError(f"{path} cannot be used\n{told}".rstrip())
    return definition


def _chosen(definition: Definition, build: str | None) -> str:
    names = list(definition.build)
    if not names:
        raise UsageError("the pipeline builds no image: there is no Dockerfile to show")
    if build is None and len(names) > 1:
        raise UsageError(f"there are several builds: name one of {_all(names)}")
    name = names[0] if build is None else build.removeprefix("build.")
    if name not in names:
        raise UsageError(f"there is no build {name!r} (there are {_all(names)})")
    return name


def _text(tree: Tree, definition: Definition, name: str, catalogue: Catalogue) -> str:
    build = definition.build[name]
    if isinstance(build, Templated):
        files = look_in_tree(tree, sought([definition], catalogue))
        return render_builds(definition, catalogue, files)[name].text
    folder = "" if build.context == "." else f"{build.context}/"
    path = build.dockerfile or f"{folder}Dockerfile"
    raw = tree.source().read(path)
    if raw is None:
        raise UsageError(
            f"build.{name} is made of {path}, and there is none: add it, or name a `template`"
        )
    return raw.decode("utf-8", "replace")


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)
