"""`lading init`: a pipeline for the repository at hand."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pipelines.checkout import Checkout, CheckoutError, in_folder, root_of
from pipelines.linting import lint
from pipelines.parsing import SINGLE_FILE
from pipelines.proposing import Files, Proposal, propose, written
from server.cli.errors import UsageError
from server.cli.terminal import inert, paint_for, tolerant


def run(here: Path, *, force: bool, image: str | None) -> None:
    """Write the file, and say what was found and why.

    Raises:
        UsageError: There is a pipeline already, or the image is none.
        NothingFoundError: Nothing says what to build or test.
    """
    tolerant(sys.stdout)
    root = root_of(here) or here
    if not force:
        _refuse_to_replace(root)
    repository, remote = _names(root)
    proposal = propose(Files(root), repository=repository, remote=remote, image=image)
    text = written(proposal)
    _refuse_problems(text, image)
    _write(root / SINGLE_FILE, text)
    _tell(proposal, root)


def _refuse_to_replace(root: Path) -> None:
    there = in_folder(root)
    for name in (*there.files, *there.unreadable):
        raise UsageError(
            f"{name} is there already: --force writes a new {SINGLE_FILE} over it"
            if name == SINGLE_FILE
            else f"{name} is there already: --force writes {SINGLE_FILE} beside it"
        )


def _names(root: Path) -> tuple[str, str | None]:
    """The repository's name and remote; outside of git the folder's name."""
    try:
        checkout = Checkout.at(root)
    except CheckoutError:
        return root.name or "app", None
    return checkout.name, checkout.remote


def _refuse_problems(text: str, image: str | None) -> None:
    """What a person named may be no image at all; everything else is ours to get right."""
    problems = [str(each) for one in lint({SINGLE_FILE: text.encode()}) for each in one.problems]
    if problems and image is not None:
        raise UsageError(f"--image: {image!r} cannot be used: {problems[0]}")
    if problems:
        raise AssertionError(problems)


def _write(path: Path, text: str) -> None:
    """Whole or not at all; a link is replaced and not followed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _tell(proposal: Proposal, root: Path) -> None:
    paint = paint_for(sys.stdout)
    for found in proposal.found:
        print(f"found {paint.bold(found.what)}: {inert(found.why)}")
    for build in proposal.builds:
        print(f"  {paint.cyan(f'build.{build.name}')} builds {build.folder}/{build.dockerfile}")
    for test in proposal.tests:
        print(f"  {paint.cyan(f'test.{test.name}')} in {test.image}: {inert(test.about)}")
    print(f"wrote {paint.bold(SINGLE_FILE)}: read it, it says what to change; then `lading run`")
    if root_of(root) is None:
        print("This folder is in no git repository yet: `git init` makes it one.")
