"""Dockerfiles into images on the engine, with the engine's own builder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from pipelines.crashing import reach
from pipelines.endings import describe
from pipelines.executor import OWN
from pipelines.images.context import BuildContext, ContextError, context_stream, read_context
from pipelines.images.dockerfile import instruction_lines
from pipelines.images.exact.bases import Found
from pipelines.images.exact.making import Made, NotExactError
from pipelines.images.exact.recording import Build, Counted, find_bases, record
from pipelines.images.exact.shelf import Shelf
from pipelines.images.instructions import read_recipe
from pipelines.images.labels import add_labels
from pipelines.images.pull import ensure_image
from pipelines.images.refusals import explain, read_refusal
from pipelines.images.session import ImageSession
from pipelines.locks import Exact
from pipelines.plan import BuildWork
from pipelines.progress import Built, Outcome, State
from pipelines.registries.refusals import Refusal
from pipelines.source import Source

_STEP = re.compile(r"^Step (\d+)/(\d+) : (.*)", re.DOTALL)
_EXIT = re.compile(r"returned a non-zero code: (\d+)")
_CACHED = " ---> Using cache"
EPOCH = "SOURCE_DATE_EPOCH"


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
    shelf: Shelf | None = None,
) -> Outcome:
    """Build the recipe at the commit; a success carries what was built.

    Args:
        session: The step's engine, logins and output.
        work: What to build.
        source: The commit.
        labels: For the image; the engine's own gets them only where it is what is pushed.
        memory: Bytes that each container of the build may use.
        name: For the container that is there while labels are put on.
        shelf: Where layers are kept; None: the image is not brought into its one form.

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
    building = Building(session, work, source, context, memory=memory)
    await building.prepare()
    log = await building.run()
    ours = shelf if work.reproducible else None
    if labels and ours is None and log.image_id is not None and not log.error:
        await building.label(labels, name)
    if log.error or log.image_id is None:
        return _failed(session, work, context, log)
    built = Built(image_id=log.image_id, cached_steps=log.cached, total_steps=log.total)
    if ours is not None:
        try:
            exact, _ = await building.record(ours, log.image_id, labels)
        except NotExactError as error:
            return Outcome(state=State.ERROR, message=_NOT_EXACT.format(error))
        session.say(f"Reproducible: {exact.digest}")
        built = built.model_copy(update={"exact": exact})
    return Outcome(state=State.SUCCESS, built=built)


_NOT_EXACT = "{}; `reproducible: false` at this build pushes the image as the engine has it"


class Building:
    """One build, from the pulling of its bases to the record of what came out."""

    def __init__(
        self,
        session: ImageSession,
        work: BuildWork,
        source: Source,
        context: BuildContext,
        *,
        memory: int,
        fresh: bool = False,
    ) -> None:
        self._session = session
        self._work = work
        self._source = source
        self._context = context
        self._memory = memory
        self._fresh = fresh
        text = context.text.decode(errors="replace")
        self._recipe = read_recipe(text, work.args)
        self._log = BuildLog()
        self._digest = ""
        self._created = 0
        self._bases: tuple[Found, ...] = ()

    async def prepare(self) -> None:
        """Have the engine pull what is missing, and write down what there is.

        Raises:
            RegistryError: A base image cannot be had.
        """
        for base in self._recipe.images():
            await ensure_image(self._session, base)
        self._bases = await find_bases(self._session, self._recipe)
        at = await self._session.engine.call(self._source.committed_at)
        self._created = int(at.timestamp())

    async def run(self) -> BuildLog:
        """Have the engine build; errors stand in what is returned."""
        refused = await self._session.stream(self._read)
        if refused and not self._log.error:
            self._log.error = refused[0]
        return self._log

    async def label(self, labels: dict[str, str], name: str) -> None:
        """Put labels on the engine's image."""

        def put() -> list[str]:
            client = self._session.engine.client
            self._log.image_id = add_labels(client, str(self._log.image_id), labels, name=name)
            return []

        if refused := await self._session.stream(put):
            self._log.error = refused[0]

    async def record(self, shelf: Shelf, image: str, labels: dict[str, str]) -> tuple[Exact, Made]:
        """Bring the engine's image into its one form, and write down what it was made from.

        Raises:
            NotExactError: It cannot be brought there.
        """
        build = Build(
            image=image,
            work=self._work,
            context=self._context,
            context_digest=self._digest,
            sha=self._source.sha,
            created=self._created,
            bases=self._bases,
        )
        return await record(self._session, shelf, build, self._source, labels)

    def _read(self) -> list[str]:
        session, work, context = self._session, self._work, self._context
        client = session.engine.streams
        with context_stream(self._source, context) as tar, client.logins(session.logins):
            counted = Counted(tar)
            entries = client.build(
                # Any iterable of bytes will do; it is sent piece by piece.
                fileobj=cast("IO[bytes]", _Upload(counted, session)),
                custom_context=True,
                dockerfile=context.dockerfile,
                buildargs=self._arguments(),
                target=work.target or "",
                container_limits={"memory": self._memory, "memswap": self._memory},
                pull=False,
                nocache=self._fresh,
                rm=True,
                forcerm=True,
                use_config_proxy=False,
                decode=True,
            )
            with session.interruption.reading(client.opened()):
                for entry in entries:
                    if text := self._log.take(entry):
                        session.output.write(OWN, text.encode())
                    reach("build.output")
            self._digest = counted.digest
        return []

    def _arguments(self) -> dict[str, str]:
        """The build's arguments; the commit's time for who asks for it by its usual name.

        https://reproducible-builds.org/docs/source-date-epoch/
        """
        told = {EPOCH: str(self._created)} if self._recipe.declares(EPOCH) else {}
        return told | self._work.args


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
    session: ImageSession, work: BuildWork, context: BuildContext, log: BuildLog
) -> Outcome:
    """The outcome where the builder said no, or nothing."""
    error = log.error or ""
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
        state=State.FAILURE,
        exit_code=code,
        message=f"{place_of_failure(work, context, log)}: {why}",
    )


def place_of_failure(work: BuildWork, context: BuildContext, log: BuildLog) -> str:
    """Where a build ended: `Dockerfile line 7 (RUN make) failed`."""
    lines = instruction_lines(context.text.decode(errors="replace"))
    if not 0 < log.step <= len(lines):
        return f"{work.recipe} does not build"
    first = log.instruction.splitlines()[0] if log.instruction else ""
    shown = first if len(first) <= 60 else first[:59] + "…"  # noqa: PLR2004 - one glance
    return f"{work.recipe} line {lines[log.step - 1]} ({shown}) failed"
