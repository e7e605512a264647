"""Secrets for a run at home, from a file of one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from pipelines.checkout import Checkout
from pipelines.definition.fields import SECRET_NAME
from pipelines.plan import Plan, Step
from pipelines.redaction import LEAST, StepSecrets
from server.cli.errors import UsageError

_LARGEST = 1024 * 1024


def read(path: Path) -> dict[str, str]:
    """The secrets by name: of a `.toml` file its texts, of any other its lines `NAME=value`.

    Raises:
        UsageError: The file cannot be read, or is not like that.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--secrets: {path} cannot be read as text ({error})") from error
    if len(data) > _LARGEST:
        raise UsageError(f"--secrets: {path} is larger than {_LARGEST // 1024} KiB")
    found = _of_toml(path, text) if path.suffix == ".toml" else _of_lines(path, text)
    for name, value in found.items():
        if SECRET_NAME.fullmatch(name) is None:
            raise UsageError(
                f"--secrets: {name[:100]!r} in {path} cannot be a secret's name: lower-case "
                "letters, digits and _, at most 63, a letter first"
            )
        if not value or "\0" in value:
            raise UsageError(f"--secrets: {name} in {path} is empty, or holds NUL")
    return found


def _of_toml(path: Path, text: str) -> dict[str, str]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--secrets: {path} is no TOML ({error})") from error
    for name, value in found.items():
        if not isinstance(value, str):
            raise UsageError(f'--secrets: {name} in {path} is no text: write `{name} = "…"`')
    return found


def _of_lines(path: Path, text: str) -> dict[str, str]:
    """Lines as dotenv has them; nothing in a value stands for anything else."""
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            # Never the line itself: it may hold a secret.
            raise UsageError(
                f"--secrets: line {binding.original.line} of {path} is not of the form NAME=value"
            )
        if binding.key is None:
            continue
        if binding.key in found:
            raise UsageError(f"--secrets: {binding.key} stands twice in {path}")
        found[binding.key] = binding.value or ""
    return found


def warnings(path: Path, values: Mapping[str, str], checkout: Checkout) -> Iterator[str]:
    """What is not as safe as it could be."""
    if path.stat().st_mode & 0o077:
        yield f"others on this machine may read {path}: `chmod 600 {path}`"
    here, root = path.resolve(), checkout.root.resolve()
    if here.is_relative_to(root):
        name = str(here.relative_to(root))
        if checkout.git.ask("ls-files", "--error-unmatch", "--", name) is not None:
            yield (
                f"{path} is tracked by git, so everybody who has the repository has the secrets: "
                f"`git rm --cached {name}`, name it in .gitignore, and make new ones"
            )
        elif checkout.git.ask("check-ignore", "--quiet", "--", name) is None:
            yield (
                f"{path} is part of the working tree, so every step and image may hold it: name "
                "it in .gitignore, or keep it elsewhere"
            )
    short = [name for name, value in values.items() if len(value.strip().encode()) < LEAST]
    if short:
        are = "is" if len(short) == 1 else "are"
        yield f"{', '.join(short)} {are} too short to be taken out of output"


def for_steps(plan: Plan, values: Mapping[str, str], path: Path | None) -> StepSecrets:
    """What each step gets: what it names, and nothing else."""
    given: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    for step in plan.steps if path is not None else ():
        missing = [name for name in _names(step) if name not in values]
        if missing:
            refused[step.key] = f"{step.key} cannot run: {_missing(missing[0], values, path)}"
            continue
        for who, named in step.named_secrets.items():
            given[who] = {variable: values[name] for variable, name in named.items()}
    return StepSecrets(values=given, refused=refused)


def _missing(name: str, values: Mapping[str, str], path: Path | None) -> str:
    near = get_close_matches(name, values, 1)
    return f"there is no secret {name} in {path}" + (f", only {near[0]}" if near else "")


def without(plan: Plan) -> Iterator[str]:
    """Which steps run without the secrets that they name."""
    for step in plan.steps:
        if names := ", ".join(_names(step)):
            yield f"{step.key} runs without {names}: give it with --secrets FILE"


def _names(step: Step) -> dict[str, None]:
    """The secrets that a step and its services name, each once."""
    named = step.named_secrets.values()
    return dict.fromkeys(name for each in named for name in each.values())
