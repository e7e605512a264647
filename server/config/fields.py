"""What a setting may be: the base of all tables, and the kinds of values with their checks."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from pipelines.durations import parse_duration, parse_size
from server.config.room import parse_room

_SECRET_CHARACTERS = 16
_KEY_BYTES = range(24, 65)
SECRET_EXAMPLE = "an-example-that-everyone-knows"  # noqa: S105 - shown, and refused
KEY_EXAMPLE = "whsec_" + base64.b64encode(b"an example that everyone knows  ").decode()


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def fault(wrong: str, right: str) -> PydanticCustomError:
    """An error of a validator, in the two halves that people read."""
    return PydanticCustomError("setting", "{wrong}; {right}", {"wrong": wrong, "right": right})


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _room(value: str) -> str:
    parse_room(value)
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise fault(f"is {value!r}", "give a whole address, like https://ci.example.com")
    return value.rstrip("/")


def _no_example(value: SecretStr) -> SecretStr:
    if value.get_secret_value() in {SECRET_EXAMPLE, KEY_EXAMPLE}:
        raise fault("is the documentation's example, which everyone knows", "give one of your own")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    count = len(value.get_secret_value())
    if count < _SECRET_CHARACTERS:
        raise fault(
            f"has {count} characters, so it can be guessed",
            f"give at least {_SECRET_CHARACTERS}, for example what `openssl rand -hex 32` prints",
        )
    return value


def _signing_key(value: SecretStr) -> SecretStr:
    """Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    right = (
        "give `whsec_` and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)"
    )
    prefix, encoded = value.get_secret_value()[:6], value.get_secret_value()[6:]
    if prefix != "whsec_":
        raise fault("does not begin with `whsec_`", right)
    try:
        count = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise fault("is no base64 behind `whsec_`", right) from None
    if count not in _KEY_BYTES:
        raise fault(f"holds {count} bytes", right)
    return value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
"""Seconds; written like `90s`, `30m` or `1h30m`."""

Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": "string", "format": "size"})]
"""Bytes; written like `512MiB` or `2GiB`."""

WebAddress = Annotated[str, AfterValidator(_web_address)]
"""An http or https address, without a slash at its end."""

Secret = Annotated[SecretStr, AfterValidator(_no_example), AfterValidator(_long_enough)]
"""A shared secret that is long enough not to be guessed."""

SigningKey = Annotated[SecretStr, AfterValidator(_no_example), AfterValidator(_signing_key)]
"""A signing secret as Standard Webhooks writes it."""

RoomText = Annotated[
    str, AfterValidator(_room), WithJsonSchema({"type": "string", "format": "room"})
]
"""How much of a disk must be free; written like `1GiB`, `2%` or `1GiB or 2%`."""
