"""Dockerfiles into images on the engine, with the engine's own builder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from pipelines.crashing import reach
from pipelines.endings import describe
from pipelines.executor import OWN
from pipelines.images.context import BuildContext, ContextError, context_stream, read_context
from pipelines.images.dockerfile import base_images, instruction_lines
from pipelines.images.labels import add_labels
from pipelines.images.pull import ensure_image
from pipelines.images.refusals import explain, read_refusal
from pipelines.images.session import ImageSession
from pipelines.plan import BuildWork
from pipelines.progress import Built, Outcome, State
from pipelines.registries.refusals import Refusal
from pipelines.source import Source

_STEP = re.compile(r"^Step (\d+)/(\d+) : (.*)", re.DOTALL)
_EXIT = re.compile(r"returned a non-zero code: (\d+)")
_CACHED = " ---> Using cache"


class BuildLog:
    """What the builder has told so far."""

    def __init__(self) -> None:
        self.step = 0
        self.total = 0
        self.instruction = ""
        self.cached = 0
        self.image_id: str | None = None
        self.error: str | None = None

    def take(self, entry: dict[str, Any]) -> str:
        """Read one entry of the builder's stream; its text for people."""
        text = str(entry.get("stream") or "")
        if found := _STEP.match(text):
            self.step, self.total = int(found[1]), int(found[2])
            self.instruction = found[3].strip()
        elif text.startswith(_CACHED):
            self.cached += 1
        aux = entry.get("aux")
        if isinstance(aux, dict) and "ID" in aux:
            self.image_id = str(aux["ID"])
        if "error" in entry:
            self.error = str(entry["error"])
        return text or _pull_line(entry)


def _pull_line(entry: dict[str, Any]) -> str:
    status = str(entry.get("status") or "")
    return f"{status}\n" if status and "id" not in entry else ""


async def build_image(
    session: ImageSession,
    work: BuildWork,
    source: Source,
    *,
    labels: dict[str, str],
    memory: int,
    name: str,
) -> Outcome:
    """Build the recipe at the commit; a success carries what was built.

    Args:
        session: The step's engine, logins and output.
        work: What to build.
        source: The commit.
        labels: For the image.
        memory: Bytes that each container of the build may use.
        name: For the container that is there while labels are put on.

    Raises:
        RegistryError: A base image cannot be had.
        ExecutorUnavailableError: The engine is gone.
        StoppedError: The step was asked to stop.
        SourceError: The commit or the context's folder cannot be read.
    """
    engine = session.engine
    try:
        context = await engine.call(read_context, source, work)
    except ContextError as error:
        return Outcome(state=State.FAILURE, message=str(error))
    for base in base_images(context.text.decode(errors="replace")):
        await ensure_image(session, base)
    log = BuildLog()
    refused = await session.stream(
        lambda: _read_build(session, work, source, context, log, memory=memory)
    )
    if labels and log.image_id is not None and not (refused or log.error):
        refused = await session.stream(lambda: _label(session, log, labels, name))
    if refused or log.error or log.image_id is None:
        return _failed(session, work, context, log, refused)
    built = Built(image_id=log.image_id, cached_steps=log.cached, total_steps=log.total)
    return Outcome(state=State.SUCCESS, built=built)


def _read_build(
    session: ImageSession,
    work: BuildWork,
    source: Source,
    context: BuildContext,
    log: BuildLog,
    *,
    memory: int,
) -> list[str]:
    client = session.engine.streams
    with context_stream(source, context) as tar, client.logins(session.logins):
        entries = client.build(
            # Any iterable of bytes will do; it is sent piece by piece.
            fileobj=cast("IO[bytes]", _Upload(tar, session)),
            custom_context=True,
            dockerfile=context.dockerfile,
            buildargs=work.args,
            target=work.target or "",
            container_limits={"memory": memory, "memswap": memory},
            pull=False,
            rm=True,
            forcerm=True,
            use_config_proxy=False,
            decode=True,
        )
        with session.interruption.reading(client.opened()):
            for entry in entries:
                if text := log.take(entry):
                    session.output.write(OWN, text.encode())
                reach("build.output")
    return []


def _label(session: ImageSession, log: BuildLog, labels: dict[str, str], name: str) -> list[str]:
    client = session.engine.client
    log.image_id = add_labels(client, str(log.image_id), labels, name=name)
    return []


class _Upload:
    """The context on its way to the engine; ends early when the step shall stop."""

    def __init__(self, pieces: Iterable[bytes], session: ImageSession) -> None:
        self._pieces = pieces
        self._session = session

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._session.interruption.check()
            yield piece


def _failed(
    session: ImageSession, work: BuildWork, context: BuildContext, log: BuildLog, refused: list[str]
) -> Outcome:
    """The outcome where the builder said no, or nothing."""
    error = log.error or (refused[0] if refused else "")
    if not error:
        message = "the engine stopped building without a word: see that it runs, and run again"
        return Outcome(state=State.ERROR, message=message)
    if log.instruction.upper().startswith("FROM") and read_refusal(error) is not Refusal.OTHER:
        base = log.instruction.split()[1] if " " in log.instruction else log.instruction
        host, login = session.login(base)
        told = explain(f"pull of {base}", host, login, error)
        return Outcome(state=State.ERROR, message=str(told))
    code = int(found[1]) if (found := _EXIT.search(error)) else None
    why = describe(code) if code else " ".join(error.split())
    session.output.write(OWN, error.encode() + b"\n")
    return Outcome(
        state=State.FAILURE, exit_code=code, message=f"{_place(work, context, log)}: {why}"
    )


def _place(work: BuildWork, context: BuildContext, log: BuildLog) -> str:
    """`Dockerfile line 7 (RUN make) failed`."""
    lines = instruction_lines(context.text.decode(errors="replace"))
    if not 0 < log.step <= len(lines):
        return f"{work.recipe} does not build"
    first = log.instruction.splitlines()[0] if log.instruction else ""
    shown = first if len(first) <= 60 else first[:59] + "…"  # noqa: PLR2004 - one glance
    return f"{work.recipe} line {lines[log.step - 1]} ({shown}) failed"
