"""Settings from `LADING_…` variables, and from the files that `LADING_…_FILE` name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from server.config import shape
from server.config.faults import Fault, close_to

PREFIX = "LADING_"
NO_SETTINGS = frozenset({"LADING_CONFIG", "LADING_URL", "LADING_TOKEN"})
"""Variables of ours that name no setting: where the configuration file is, and which server the
commands talk to that talk to one."""

_FILE_BYTES = 64 * 1024


class Given(NamedTuple):
    """A setting that the environment gives."""

    path: shape.Path
    value: str
    source: str


def variable(path: shape.Path) -> str:
    """`LADING_HOSTS__GITHUB__TOKEN` for `hosts.github.token`; no letter or digit becomes `_`."""
    return PREFIX + "__".join(re.sub(r"[^A-Z0-9]", "_", part.upper()) for part in path)


def read(environ: Mapping[str, str], data: Mapping[str, Any]) -> tuple[list[Given], list[Fault]]:
    """What the environment gives to the tables of `data`, and what is wrong with it."""
    given: list[Given] = []
    faults: list[Fault] = []
    known = _variables(data)
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in NO_SETTINGS:
            continue
        match _read(name, environ, known):
            case Given() as setting:
                given.append(setting)
            case Fault() as fault:
                faults.append(fault)
    return given, faults


def _variables(data: Mapping[str, Any]) -> dict[str, set[shape.Path]]:
    known: dict[str, set[shape.Path]] = {}
    for path, _ in shape.places(data):
        known.setdefault(variable(path), set()).add(path)
    return known


def _read(
    name: str, environ: Mapping[str, str], known: Mapping[str, set[shape.Path]]
) -> Given | Fault:
    plain = name if name in known else name.removesuffix("_FILE")
    paths = known.get(plain, set())
    if not paths:
        return _unknown(name, known)
    if len(paths) > 1:
        both = " and ".join(f"`{shape.dotted(path)}`" for path in sorted(paths))
        return _fault(name, f"could mean {both}", "set them in the file, or rename one table")
    path = next(iter(paths))
    if plain == name:
        return Given(path, environ[name], name)
    if plain in environ:
        return _fault(name, f"says again what `{plain}` says", "unset one of the two")
    return _from_file(name, path, Path(environ[name]))


def _from_file(name: str, path: shape.Path, file: Path) -> Given | Fault:
    try:
        with file.open("rb") as stream:
            content = stream.read(_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        return _fault(
            name, f"names {file}, which cannot be read: {reason}", "name a file Lading may read"
        )
    if len(content) > _FILE_BYTES:
        return _fault(
            name, f"names {file}, which is larger than 64 KiB", "name a file with the value alone"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _fault(name, f"names {file}, which is no UTF-8 text", "write the value as text")
    # Editors and `echo` end a file with a newline that is no part of a secret.
    return Given(path, text.removesuffix("\n").removesuffix("\r"), f"{name} ({file})")


def _unknown(name: str, known: Mapping[str, set[shape.Path]]) -> Fault:
    near = close_to(name, list(_spellings(known)))
    hint = f"did you mean `{near}`?" if near else "take it out of the environment"
    table = next((kind for kind in ("HOSTS", "REGISTRIES") if name.startswith(PREFIX + kind)), None)
    if table and name.count("__") > 1 and near is None:
        hint = (
            f"give the file the table it belongs to, even an empty one, under `[{table.lower()}]`"
        )
    return _fault(name, "names no setting", hint)


def _spellings(known: Mapping[str, set[shape.Path]]) -> Iterator[str]:
    for name in known:
        yield name
        yield f"{name}_FILE"


def _fault(name: str, wrong: str, right: str) -> Fault:
    return Fault(setting=name, source="environment", wrong=wrong, right=right)
