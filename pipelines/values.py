"""The base of every value object: frozen, keyword-only, checked, and JSON both ways."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A fact that never changes once made; equal when its fields are equal."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
