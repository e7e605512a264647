"""Kinds of registry; each is a module here that can be copied, or taken away."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from pipelines.registries.kinds.port import GENERIC, Account, Kind, KindError

__all__ = ["GENERIC", "Account", "Kind", "KindError", "kind_of", "kinds"]


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name; whatever module here has a `KIND` is one."""
    found: dict[str, Kind] = {GENERIC.name: GENERIC}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if isinstance(kind, Kind):
            found[kind.name] = kind
    return found


def kind_of(host: str, name: str | None = None) -> Kind:
    """The kind of that name, or the one that a host's name tells; else any OCI registry.

    Raises:
        KindError: There is no kind of that name.
    """
    if name is not None:
        if name not in kinds():
            raise KindError(f"{name!r} is no kind of registry: one of {', '.join(sorted(kinds()))}")
        return kinds()[name]
    return next((kind for kind in kinds().values() if kind.is_at(host)), GENERIC)
