"""What would have happened in git, had this tree been pushed."""

from __future__ import annotations

from pipelines.checkout.git import CheckoutError, RevisionError
from pipelines.checkout.repository import Checkout, Tree
from pipelines.events import Event, EventKind
from pipelines.values import Value

PULL_REQUEST = 1
"""The number of a pull request that is not there."""


class Asked(Value):
    """Which event a person has in mind; what they leave out is taken from the checkout."""

    kind: EventKind | None = None
    """None: a tag where one is named, else a push."""
    branch: str | None = None
    tag: str | None = None
    from_fork: bool = False
    base: str | None = None
    """The revision to compare with."""
    changed: tuple[str, ...] | None = None
    """The paths that count as changed, in place of a comparison."""


class Happening(Value):
    """An event, and what changed with it."""

    event: Event
    changed: frozenset[str] | None
    """None where it is not known."""
    compared: str
    """Where `changed` comes from, as a part of a sentence."""


def happening(checkout: Checkout, tree: Tree, asked: Asked, *, sha: str | None = None) -> Happening:
    """The event that a person asks about.

    Args:
        checkout: Whose branches and remote count.
        tree: The files.
        asked: What to take in place of what the checkout says.
        sha: The event's commit where it is not the tree's own.

    Raises:
        RevisionError: `base` is no commit.
        CheckoutError: It wants a tag, and none is named.
    """
    kind = asked.kind or (EventKind.TAG if asked.tag else EventKind.PUSH)
    base, compared = _base(checkout, kind, asked)
    event = Event.model_validate(
        {
            "kind": kind,
            "repository": checkout.name,
            "sha": sha or tree.sha,
            "before": base,
            "from_fork": asked.from_fork,
            "default_branch": checkout.default_branch,
            "title": tree.commit.title if tree.commit else "",
            "message": tree.commit.message if tree.commit else "",
            "author": tree.commit.author if tree.commit else "",
            **_where(checkout, kind, asked),
        }
    )
    if asked.changed is not None:
        return Happening(
            event=event, changed=frozenset(asked.changed), compared="as you named them"
        )
    changed = None
    if base is not None:
        changed = tree.paths(base, from_merge_base=kind is EventKind.PULL_REQUEST)
        compared = compared if changed is not None else f"{compared} shares no history with it"
    return Happening(event=event, changed=changed, compared=compared)


def _where(checkout: Checkout, kind: EventKind, asked: Asked) -> dict[str, object]:
    """The event's ref, and the branch or tag it is of."""
    if kind is EventKind.TAG:
        if asked.tag is None:
            raise CheckoutError("which tag? Name it with `--tag`, like `--tag v1.2.3`")
        return {"ref": f"refs/tags/{asked.tag}", "tag": asked.tag}
    if kind is EventKind.PULL_REQUEST:
        return {
            "ref": f"refs/pull/{PULL_REQUEST}/head",
            "pull_request": PULL_REQUEST,
            "branch": asked.branch or checkout.default_branch,
            "source_branch": checkout.branch,
        }
    branch = asked.branch or checkout.branch
    return {"ref": f"refs/heads/{branch}" if branch else "HEAD", "branch": branch}


def _base(checkout: Checkout, kind: EventKind, asked: Asked) -> tuple[str | None, str]:
    """The commit to compare with, and where it comes from."""
    if asked.base is not None:
        return checkout.needed(asked.base), f"compared with {asked.base}"
    if asked.changed is not None or kind in (EventKind.TAG, EventKind.MANUAL):
        return None, f"not compared for a {kind}"
    if kind is EventKind.PULL_REQUEST:
        return _known(checkout, asked.branch or checkout.default_branch)
    if asked.branch is not None and asked.branch != checkout.branch:
        return _known(checkout, asked.branch)
    found = checkout.resolve("@{upstream}")
    if found is not None:
        return found, "compared with what the branch's upstream has"
    return _known(checkout, asked.branch or checkout.branch, remote_only=True)


def _known(
    checkout: Checkout, branch: str | None, *, remote_only: bool = False
) -> tuple[str | None, str]:
    """The newest commit of a branch that the remote has, as far as the checkout knows."""
    places = [f"refs/remotes/origin/{branch}"]
    if not remote_only:
        places.append(f"refs/heads/{branch}")
    for place in places if branch else ():
        found = checkout.resolve(place)
        if found is not None:
            return found, f"compared with {place.removeprefix('refs/').partition('/')[2]}"
    return None, "not known: there is nothing to compare with, so name a commit with `--base`"


__all__ = ["Asked", "CheckoutError", "Happening", "RevisionError", "happening"]
