"""The table of endpoints, and what each one does."""

from __future__ import annotations

from starlette.responses import Response

from pipelines.progress import State
from server.api import kept, me, models, operations, registries, releases, schedules, views
from server.api import secrets as secret_endpoints
from server.api.answers import json_answer, page, run_asked, step_asked
from server.api.output import TEXT_HEADERS, StepOutput
from server.api.problems import ApiError
from server.api.routing import Api, Asked, Endpoint
from server.dockerfiles import NoDockerfileError
from server.store import approvals as approval_verbs
from server.store import deliveries as delivery_verbs
from server.store import groups as group_verbs
from server.store import images as image_verbs
from server.store import pauses as pause_verbs
from server.store import repositories as repository_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import RunRow


async def list_runs(api: Api, asked: Asked) -> Response:
    """Runs, newest first."""
    query = asked.query_as(models.RunsQuery)
    rows = await api.database.read(
        run_verbs.runs_page,
        repository=query.repository,
        branch=query.branch,
        state=query.state,
        before=query.before,
        limit=query.limit + 1,
    )
    shown, link = page(api, asked, rows, query.limit)
    items = [views.run_brief(api.links, row) for row in shown]
    return json_answer(models.Page[models.RunBrief](items=items, next=link), link=link)


async def show_run(api: Api, asked: Asked) -> Response:
    """A run with its attempts, newest steps, images and statuses."""
    return json_answer(await _whole_run(api, await run_asked(api, asked)))


async def show_queue(api: Api, asked: Asked) -> Response:
    """What waits, the longest first."""
    limit = asked.query_as(models.QueueQuery).limit
    rows = await api.database.read(group_verbs.queue, limit=limit)
    waiting = (await api.database.read(run_verbs.count_by_state)).get(State.WAITING, 0)
    now = api.clock()
    items = [views.queued(api.links, row, now) for row in rows]
    return json_answer(models.Queue(items=items, waiting=waiting))


async def start_run(api: Api, asked: Asked) -> Response:
    """Start what matches at a branch, tag or commit."""
    wanted = asked.body_as(models.NewRun)
    decided = await api.actions.start(
        repository=wanted.repository,
        ref=wanted.ref,
        by=asked.by,
        host=wanted.host,
        pipeline=wanted.pipeline,
        inputs=wanted.inputs,
    )
    return json_answer(views.decision(api.links, decided, None), status=201)


async def start_attempt(api: Api, asked: Asked) -> Response:
    """Run it, or some of it, again as a new attempt."""
    run = asked.row_id("run", "run")
    wanted = asked.body_as(models.NewAttempt)
    row = await api.actions.rerun(
        run, by=asked.by, only_failed=wanted.only is not None, start=wanted.from_
    )
    answer = views.attempt(api.links, row)
    return json_answer(answer, status=201, headers={"Location": answer.steps})


async def cancel_run(api: Api, asked: Asked) -> Response:
    """Stop it."""
    row = await api.actions.cancel(asked.row_id("run", "run"), by=asked.by)
    return json_answer(views.attempt(api.links, row), status=202)


async def approve_run(api: Api, asked: Asked) -> Response:
    """Let what waits for approval go on."""
    run, said = asked.row_id("run", "run"), asked.body_as(models.Said)
    row = await api.actions.approve(run, by=asked.by, step=said.step)
    return json_answer(views.attempt(api.links, row))


async def decline_run(api: Api, asked: Asked) -> Response:
    """Refuse what waits for approval."""
    run, said = asked.row_id("run", "run"), asked.body_as(models.Said)
    row = await api.actions.decline(run, by=asked.by, step=said.step)
    return json_answer(views.attempt(api.links, row))


async def list_steps(api: Api, asked: Asked) -> Response:
    """The steps of an attempt."""
    run = await run_asked(api, asked)
    number = asked.row_id("attempt", f"attempt of run {run.id}")
    if number > run.attempt:
        raise ApiError(404, f"run {run.id} has no attempt {number}: its newest is {run.attempt}")
    rows = await api.database.read(run_verbs.steps_of, run.id, number)
    return json_answer(models.Steps(items=[views.step(api.links, row) for row in rows]))


async def attempt_log(api: Api, asked: Asked) -> Response:
    """A step's output."""
    run = await run_asked(api, asked)
    return await _log(api, asked, run, asked.row_id("attempt", f"attempt of run {run.id}"))


async def newest_log(api: Api, asked: Asked) -> Response:
    """A step's output in the newest attempt."""
    run = await run_asked(api, asked)
    return await _log(api, asked, run, run.attempt)


async def show_dockerfile(api: Api, asked: Asked) -> Response:
    """The Dockerfile of a build step."""
    run = await run_asked(api, asked)
    try:
        text = await api.dockerfiles.text(run, asked.text("key"))
    except NoDockerfileError as error:
        raise ApiError(404, str(error)) from error
    return Response(text, headers=TEXT_HEADERS)


async def list_deliveries(api: Api, asked: Asked) -> Response:
    """Deliveries with what was decided, newest first."""
    query = asked.query_as(models.DeliveriesQuery)
    rows = await api.database.read(
        delivery_verbs.deliveries_page, before=query.before, limit=query.limit + 1
    )
    shown, link = page(api, asked, rows, query.limit)
    decided = await api.database.read(delivery_verbs.decisions_of, [row.id for row in shown])
    items = [views.delivery_brief(api.links, row, decided.get(row.id)) for row in shown]
    return json_answer(models.Page[models.DeliveryBrief](items=items, next=link), link=link)


async def show_delivery(api: Api, asked: Asked) -> Response:
    """A delivery: headers, body, decision."""
    id_ = asked.text("delivery")
    row = await api.database.read(delivery_verbs.delivery, id_)
    if row is None:
        raise ApiError(404, f"there is no delivery {id_[:40]!r}")
    decided = (await api.database.read(delivery_verbs.decisions_of, [row.id])).get(row.id)
    earlier = None
    if decided is not None and decided.duplicate_of is not None:
        earlier = await api.database.read(delivery_verbs.decision, decided.duplicate_of)
    return json_answer(views.delivery(api.links, row, decided, earlier))


async def redeliver(api: Api, asked: Asked) -> Response:
    """Read a stored delivery once more."""
    row = await api.actions.redeliver(asked.text("delivery"), by=asked.by)
    return json_answer(views.delivery(api.links, row, None, None), status=202)


async def list_images(api: Api, asked: Asked) -> Response:
    """Image versions, newest first."""
    query = asked.query_as(models.ImagesQuery)
    rows = await api.database.read(
        image_verbs.image_versions_page,
        image=query.image,
        repository=query.repository,
        before=query.before,
        limit=query.limit + 1,
    )
    shown, link = page(api, asked, rows, query.limit)
    items = [views.image(api.links, row) for row in shown]
    return json_answer(models.Page[models.ImageVersion](items=items, next=link), link=link)


async def list_repositories(api: Api, asked: Asked) -> Response:  # noqa: ARG001 - a handler's shape
    """Every repository, by name."""
    rows = await api.database.read(repository_verbs.all_repositories)
    items = [views.repository(api.links, row) for row in rows]
    return json_answer(models.Page[models.Repository](items=items, next=None))


async def show_operations(api: Api, asked: Asked) -> Response:  # noqa: ARG001 - a handler's shape
    """How the whole server is doing."""
    return json_answer(operations.view(await api.operations.report()))


async def list_pauses(api: Api, asked: Asked) -> Response:  # noqa: ARG001 - a handler's shape
    """Hosts and repositories that are left alone, by name."""
    rows = await api.database.read(pause_verbs.all_pauses, now=api.clock())
    items = [views.pause(row) for row in rows]
    return json_answer(models.Page[models.Pause](items=items, next=None))


async def _whole_run(api: Api, row: RunRow) -> models.Run:
    read = api.database.read
    return views.run(
        api.links,
        row,
        delivery=await read(delivery_verbs.delivery_of_decision, row.decision),
        attempts=await read(run_verbs.attempts_of, row.id),
        steps=await read(run_verbs.steps_of, row.id, row.attempt),
        images=await read(image_verbs.image_versions_page, run=row.id),
        statuses=await read(status_verbs.statuses_of_run, row.id),
        approvals=await read(approval_verbs.approvals_of, row.id),
        turn=await read(group_verbs.turn_of, row.id),
    )


async def _log(api: Api, asked: Asked, run: RunRow, attempt: int) -> Response:
    query = asked.query_as(models.LogQuery)
    step = await step_asked(api, run, attempt, asked.text("key"))
    await _refuse_removed(api, run.id, attempt)
    output = StepOutput(
        database=api.database,
        logs=api.logs,
        stopping=api.stopping,
        run=run.id,
        attempt=step.done_in,
        key=step.key,
    )
    if query.follow:
        head = asked.request.method == "HEAD"
        return await output.following(query.from_ or 0, byte=query.from_byte, head=head)
    if query.from_ is not None or query.limit is not None:
        here = api.links.log(run.id, step.done_in, step.key)
        return await output.lines(query.from_ or 0, query.limit, next_url=here)
    return await output.whole(asked.request.headers.get("range"))


async def _refuse_removed(api: Api, run: int, attempt: int) -> None:
    rows = await api.database.read(run_verbs.attempts_of, run)
    for row in rows:
        if row.number == attempt and row.output_removed_at is not None:
            raise ApiError(
                410,
                f"the output of attempt {attempt} of run {run} was removed for its age on "
                f"{row.output_removed_at:%Y-%m-%d}: `retention.logs` says how long it is kept",
            )


_STATES = ", ".join(State)
_LOG_HEADERS = {"Range": "Bytes of the output: `bytes=0-99`, `bytes=100-`, `bytes=-100`."}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/runs",
        name="listRuns",
        summary=f"Runs, newest first; states are {_STATES}",
        handler=list_runs,
        query=models.RunsQuery,
        answer=models.Page[models.RunBrief],
    ),
    Endpoint(
        method="POST",
        path="/runs",
        name="startRun",
        summary="Start the pipelines of a repository by hand",
        handler=start_run,
        body=models.NewRun,
        answer=models.Decision,
        status=201,
        errors=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/queue",
        name="showQueue",
        summary="What waits, for what and since when, in the order it will be taken",
        handler=show_queue,
        query=models.QueueQuery,
        answer=models.Queue,
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}",
        name="showRun",
        summary="A run with its definition, attempts, steps, images and statuses",
        handler=show_run,
        answer=models.Run,
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/runs/{run}/attempts",
        name="startAttempt",
        summary="Run it again, or only what failed; earlier attempts are kept",
        handler=start_attempt,
        body=models.NewAttempt,
        body_required=False,
        answer=models.Attempt,
        status=201,
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/runs/{run}/cancel",
        name="cancelRun",
        summary="Stop a run: SIGTERM, a grace period, SIGKILL",
        handler=cancel_run,
        answer=models.Attempt,
        status=202,
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/runs/{run}/approve",
        name="approveRun",
        summary="Approve the commit of a run that is held, or a step that asks before it starts",
        handler=approve_run,
        body=models.Said,
        body_required=False,
        answer=models.Attempt,
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/runs/{run}/decline",
        name="declineRun",
        summary="Refuse it: a run that is held ends, and so does a step that asks",
        handler=decline_run,
        body=models.Said,
        body_required=False,
        answer=models.Attempt,
        errors=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/attempts/{attempt}/steps",
        name="listSteps",
        summary="The steps of an attempt, in the plan's order",
        handler=list_steps,
        answer=models.Steps,
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/attempts/{attempt}/steps/{key}/log",
        name="showLog",
        summary="A step's output, as it came",
        handler=attempt_log,
        query=models.LogQuery,
        answer=None,
        errors=(404, 410, 416),
        headers=_LOG_HEADERS,
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/steps/{key}/log",
        name="showNewestLog",
        summary="A step's output in the newest attempt",
        handler=newest_log,
        query=models.LogQuery,
        answer=None,
        errors=(404, 410, 416),
        headers=_LOG_HEADERS,
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/steps/{key}/dockerfile",
        name="showDockerfile",
        summary="The Dockerfile of a build: the repository's own, or what its template became",
        handler=show_dockerfile,
        answer=None,
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/deliveries",
        name="listDeliveries",
        summary="Webhook calls with what was decided, newest first",
        handler=list_deliveries,
        query=models.DeliveriesQuery,
        answer=models.Page[models.DeliveryBrief],
    ),
    Endpoint(
        method="GET",
        path="/deliveries/{delivery}",
        name="showDelivery",
        summary="A webhook call: headers, body, decision",
        handler=show_delivery,
        answer=models.Delivery,
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/deliveries/{delivery}/redeliver",
        name="redeliver",
        summary="Read a stored webhook call once more; what has started runs starts none again",
        handler=redeliver,
        answer=models.Delivery,
        status=202,
        errors=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/images",
        name="listImages",
        summary="Image versions, newest first",
        handler=list_images,
        query=models.ImagesQuery,
        answer=models.Page[models.ImageVersion],
    ),
    Endpoint(
        method="GET",
        path="/repositories",
        name="listRepositories",
        summary="Every repository that has sent a delivery, by name",
        handler=list_repositories,
        answer=models.Page[models.Repository],
    ),
    Endpoint(
        method="GET",
        path="/operations",
        name="showOperations",
        summary="How the whole server is doing: what waits, what was lost, what is paused and why",
        handler=show_operations,
        answer=operations.Operations,
    ),
    Endpoint(
        method="GET",
        path="/pauses",
        name="listPauses",
        summary="Git hosts and repositories that are left alone for a while, and why",
        handler=list_pauses,
        answer=models.Page[models.Pause],
    ),
    *kept.ENDPOINTS,
    *secret_endpoints.ENDPOINTS,
    *schedules.ENDPOINTS,
    *me.ENDPOINTS,
    *registries.ENDPOINTS,
    *releases.ENDPOINTS,
)
