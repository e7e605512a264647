"""The list of runs, and a run with its steps and their output."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from pipelines.problems import Problem
from pipelines.progress import State
from pipelines.values import Value
from server.actions import NotFoundError
from server.api.output import TEXT_HEADERS, StepOutput
from server.api.problems import ApiError
from server.dockerfiles import NoDockerfileError, recipes
from server.store import approvals as approval_verbs
from server.store import deliveries as delivery_verbs
from server.store import groups as group_verbs
from server.store import images as image_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import AttemptRow, ImageVersionRow, RunRow, StepRow
from server.ui import tail, times
from server.ui.events import Events
from server.ui.kept import left
from server.ui.origin import read_form
from server.ui.site import HEADERS, Site, Visit, positive

PAGE = 40  # runs on one page
STEP = "/runs/{run}/attempts/{attempt}/steps/{key}"


class StepView(Value):
    """A step with its times in words, and as parts of the attempt's time."""

    row: StepRow
    waited: str
    prepared: str
    ran: str
    bars: tuple[tuple[str, float, float], ...]
    """(waiting, preparing or ran; start; width), in per cent of the attempt."""
    address: str
    """Its page."""


class DefinitionLine(Value):
    """A line of the pipeline file, with what is wrong in it."""

    number: int
    text: str
    problems: tuple[Problem, ...]


class RunPages:
    """Pages about runs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        resource = self._site.resource
        return [
            resource("/", get=self._list),
            resource("/runs/{run}", get=self._newest),
            resource("/runs/{run}/rerun", post=self._rerun),
            resource("/runs/{run}/cancel", post=self._cancel),
            resource("/runs/{run}/approve", post=self._approve),
            resource("/runs/{run}/decline", post=self._decline),
            resource("/runs/{run}/attempts/{attempt}", get=self._attempt),
            resource("/runs/{run}/steps/{key}/dockerfile", get=self._dockerfile),
            resource(STEP, get=self._step),
            resource(f"{STEP}/log", get=self._log),
            resource(f"{STEP}/events", get=Events(self._site).step),
        ]

    async def _list(self, visit: Visit) -> Response:
        query = visit.request.query_params
        wanted = {name: query.get(name, "").strip()[:255] for name in ("repository", "branch")}
        state = next((one for one in State if one == query.get("state")), None)
        before = query.get("before", "")
        rows = await self._site.database.read(
            run_verbs.runs_page,
            repository=wanted["repository"] or None,
            branch=wanted["branch"] or None,
            state=state,
            before=positive(before),
            limit=PAGE + 1,
        )
        shown = rows[:PAGE]
        older = ""
        if len(rows) > PAGE:
            kept = {**wanted, "state": state or "", "before": str(shown[-1].id)}
            older = "/?" + urlencode({name: value for name, value in kept.items() if value})
        return self._site.page(
            "runs.html",
            grant=visit.grant,
            runs=shown,
            took={row.id: self._took(row.started_at, row.ended_at) for row in shown},
            wanted={**wanted, "state": state or ""},
            older=older,
            newer=bool(before),
            pauses=await self._site.pauses(visit.grant),
            live=any(not row.state.ended for row in shown),
        )

    async def _newest(self, visit: Visit) -> Response:
        run = await self._run(visit)
        return await self._show(visit, run, run.attempt)

    async def _attempt(self, visit: Visit) -> Response:
        run = await self._run(visit)
        return await self._show(visit, run, visit.number("attempt", f"attempt of run {run.id}"))

    async def _show(self, visit: Visit, run: RunRow, number: int) -> Response:
        read = self._site.database.read
        attempts = await read(run_verbs.attempts_of, run.id)
        attempt = next((one for one in attempts if one.number == number), None)
        if attempt is None:
            raise NotFoundError(f"run {run.id} has no attempt {number}: it has {len(attempts)}")
        rows = await read(run_verbs.steps_of, run.id, number)
        chosen = visit.request.query_params.get("step")
        focus = _focus(rows, chosen)
        images = await read(image_verbs.image_versions_page, run=run.id)
        return self._site.page(
            "run.html",
            grant=visit.grant,
            run=run,
            attempt=attempt,
            attempts=attempts,
            newest=number == run.attempt,
            took=self._took(attempt.started_at, attempt.ended_at),
            steps=self._steps(rows, attempt),
            focus=focus,
            output=None if focus is None else await self._tail(focus),
            images=_made(images, rows),
            left=await left(self._site, run, rows),
            some_passed=any(row.state is State.SUCCESS for row in rows),
            statuses=await read(status_verbs.statuses_of_run, run.id),
            delivery=await read(delivery_verbs.delivery_of_decision, run.decision),
            definition=_definition(run),
            recipes=recipes(run),
            removed=_removed(attempt),
            turn=await read(group_verbs.turn_of, run.id) if number == run.attempt else None,
            asked=await read(approval_verbs.waiting_of, attempt),
            answered=[
                one
                for one in await read(approval_verbs.approvals_of, run.id)
                if one.attempt == number and one.verdict is not None
            ],
            live=not attempt.state.ended,
        )

    async def _step(self, visit: Visit) -> Response:
        """A step's output, a window at a time; the last one unless another is asked for."""
        step = await self._step_row(visit)
        first = positive(visit.request.query_params.get("from", ""))
        if first is None:
            shown = await self._tail(step)
        else:
            shown = await asyncio.to_thread(
                tail.window, self._site.logs, step.run, step.attempt, step.key, first=first
            )
        attempts = await self._site.database.read(run_verbs.attempts_of, step.run)
        return self._site.page(
            "step.html",
            removed=next(_removed(one) for one in attempts if one.number == step.attempt),
            grant=visit.grant,
            run=await self._run(visit),
            step=step,
            output=shown,
            window=tail.WINDOW_LINES,
            address=step_address(step),
            live=first is None and not step.state.ended,
        )

    async def _log(self, visit: Visit) -> Response:
        step = await self._step_row(visit)
        output = StepOutput(
            database=self._site.database,
            logs=self._site.logs,
            stopping=self._site.stopping,
            run=step.run,
            attempt=step.attempt,
            key=step.key,
        )
        try:
            return await output.whole(visit.request.headers.get("range"))
        except ApiError as error:
            return error.response()

    async def _dockerfile(self, visit: Visit) -> Response:
        run = await self._run(visit)
        try:
            text = await self._site.dockerfiles.text(run, visit.path("key"))
        except NoDockerfileError as error:
            raise NotFoundError(str(error)) from error
        return Response(text, headers=TEXT_HEADERS)

    async def _rerun(self, visit: Visit) -> Response:
        run = await self._run(visit)
        form = await read_form(visit.request)
        await self._site.actions.rerun(
            run.id, by=visit.grant.name or "somebody", only_failed=form.get("only") == "failed"
        )
        return RedirectResponse(f"/runs/{run.id}", 303, HEADERS)

    async def _cancel(self, visit: Visit) -> Response:
        run = await self._run(visit)
        await self._site.actions.cancel(run.id, by=visit.grant.name or "somebody")
        return RedirectResponse(f"/runs/{run.id}", 303, HEADERS)

    async def _approve(self, visit: Visit) -> Response:
        run, form = await self._run(visit), await read_form(visit.request)
        by = visit.grant.name or "somebody"
        await self._site.actions.approve(run.id, by=by, step=form.get("step") or None)
        return RedirectResponse(f"/runs/{run.id}", 303, HEADERS)

    async def _decline(self, visit: Visit) -> Response:
        run, form = await self._run(visit), await read_form(visit.request)
        by = visit.grant.name or "somebody"
        await self._site.actions.decline(run.id, by=by, step=form.get("step") or None)
        return RedirectResponse(f"/runs/{run.id}", 303, HEADERS)

    async def _run(self, visit: Visit) -> RunRow:
        number = visit.number("run", "run")
        row = await self._site.database.read(run_verbs.run, number)
        if row is None:
            raise NotFoundError(f"there is no run {number}")
        return row

    async def _step_row(self, visit: Visit) -> StepRow:
        run, attempt = visit.number("run", "run"), visit.number("attempt", "attempt")
        key = visit.path("key")
        row = await self._site.database.read(run_verbs.step, run, attempt, key)
        if row is None:
            raise NotFoundError(f"there is no step {key[:150]!r} in attempt {attempt} of run {run}")
        if row.carried_from is None:
            return row
        done = await self._site.database.read(run_verbs.step, run, row.carried_from, key)
        return done or row

    async def _tail(self, step: StepRow) -> tail.Window:
        return await asyncio.to_thread(
            tail.tail,
            self._site.logs,
            step.run,
            step.done_in,
            step.key,
            ended=step.state.ended,
        )

    def _took(self, start: datetime | None, end: datetime | None) -> str:
        return times.span(start, end or self._site.clock())

    def _steps(self, rows: Sequence[StepRow], attempt: AttemptRow) -> list[StepView]:
        now = attempt.ended_at or self._site.clock()
        begin = attempt.started_at or attempt.created_at
        whole = max((now - begin).total_seconds(), 0.001)
        return [_step_view(row, begin=begin, whole=whole, now=now) for row in rows]


def _step_view(row: StepRow, *, begin: datetime, whole: float, now: datetime) -> StepView:
    ended = row.ended_at or now
    began = next((each.running_at for each in row.tries if each.running_at), row.running_at)
    phases = (
        ("waiting", row.ready_at, row.started_at or ended),
        ("preparing", row.started_at, began or ended),
        ("ran", began, ended),
    )
    bars = []
    for what, start, end in phases:
        seconds = times.seconds_between(start, end)
        if start is not None and seconds is not None:
            at = max((start - begin).total_seconds(), 0.0) / whole * 100
            bars.append((what, round(at, 2), round(seconds / whole * 100, 2)))
    waited, prepared, ran = (times.span(start, end) for _, start, end in phases)
    return StepView(
        row=row,
        waited=waited,
        prepared=prepared,
        ran=ran,
        bars=tuple(bars),
        address=step_address(row),
    )


def step_address(step: StepRow) -> str:
    """A step's page."""
    return f"/runs/{step.run}/attempts/{step.done_in}/steps/{quote(step.key, safe='')}"


def _made(images: Sequence[ImageVersionRow], rows: Sequence[StepRow]) -> list[ImageVersionRow]:
    """The image versions of an attempt's steps, those that were carried over among them."""
    steps = {(row.done_in, row.key) for row in rows}
    return [image for image in images if (image.attempt, image.step) in steps]


def _focus(rows: Sequence[StepRow], chosen: str | None) -> StepRow | None:
    """The step whose output is shown: the one asked for, else what failed, runs, or ran last."""
    for row in rows:
        if row.key == chosen:
            return row
    for states in ((State.FAILURE, State.ERROR), (State.RUNNING,)):
        for row in rows:
            if row.state in states:
                return row
    begun = [row for row in rows if row.started_at is not None]
    return begun[-1] if begun else None


def _removed(attempt: AttemptRow) -> str:
    """What stands where output was that is no longer kept; empty where it is."""
    if attempt.output_removed_at is None or attempt.ended_at is None:
        return ""
    days = (attempt.output_removed_at - attempt.ended_at).days
    return f"Output removed after {days} day{'' if days == 1 else 's'}"


def _definition(run: RunRow) -> list[DefinitionLine]:
    return [
        DefinitionLine(
            number=number,
            text=text,
            problems=tuple(problem for problem in run.problems if problem.line == number),
        )
        for number, text in enumerate(run.definition.splitlines(), 1)
    ]
