"""The checkout that a command is given in, and the event a person has in mind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines.checkout import Asked, Checkout, CheckoutError, Tree
from pipelines.choosing import NoSuchStepError
from pipelines.events import EventKind
from pipelines.recipes import Catalogue, TemplateError, catalogue
from server.cli.errors import UsageError


def asked(
    *,
    event: str | None,
    branch: str | None,
    tag: str | None,
    from_fork: bool = False,
    base: str | None = None,
    changed: Sequence[str] = (),
) -> Asked:
    """The options as a wish.

    Raises:
        UsageError: They contradict each other.
    """
    kinds = [kind.value for kind in EventKind]
    if event is not None and event not in kinds:
        raise UsageError(f"--event: '{event}' is none of {', '.join(kinds)}")
    kind = EventKind(event) if event else None
    if tag is not None and kind not in (None, EventKind.TAG):
        raise UsageError(f"--tag: a {kind} has no tag; take --event tag, or leave one out")
    if branch is not None and (tag is not None or kind is EventKind.TAG):
        raise UsageError("--branch: a tag has no branch; leave one of the two out")
    if from_fork and kind is not EventKind.PULL_REQUEST:
        raise UsageError(
            "--from-fork: only a pull request comes from a fork: add --event pull_request"
        )
    if base is not None and changed:
        raise UsageError("--base and --changed both say what changed: leave one out")
    return Asked(
        kind=kind,
        branch=branch,
        tag=tag,
        from_fork=from_fork,
        base=base,
        changed=tuple(changed) or None,
    )


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """What a person named and is not there, as wrong use."""
    try:
        yield
    except (CheckoutError, NoSuchStepError) as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def opened(
    commit: str | None, *, before: Callable[[Checkout], None] = lambda _: None
) -> Iterator[tuple[Checkout, Tree]]:
    """The checkout around this folder, and a commit of it or its working tree.

    Args:
        commit: Which; None for the working tree.
        before: Called with the checkout before its files are looked at.

    Raises:
        UsageError: There is no checkout here, or no such commit.
    """
    with usage():
        checkout = Checkout.at(Path.cwd())
        before(checkout)
        if commit is not None:
            yield checkout, checkout.at_commit(commit)
            return
        with checkout.working_tree() as tree:
            yield checkout, tree


def known(folder: Path | None) -> Catalogue:
    """The templates there are, with those of a folder.

    Raises:
        UsageError: The folder cannot be used.
    """
    try:
        return catalogue(folder)
    except TemplateError as error:
        raise UsageError(f"--templates: {error}") from error


def described(tree: Tree) -> str:
    """Which state of the files it is: `commit 1a2b3c4d5e6f`."""
    if not tree.changed:
        return f"commit {tree.sha[:12]}"
    on = f"on commit {tree.commit.sha[:12]}" if tree.commit else "before the first commit"
    return f"the working tree, changed {on}" if tree.commit else f"the working tree, {on}"
