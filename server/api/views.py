"""Rows turned into the bodies of answers."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote, urlencode

from pipelines.progress import State
from pipelines.values import Value
from server.api import models
from server.redact import clean_headers
from server.store.rows import (
    ApprovalRow,
    AttemptRow,
    DecisionRow,
    DeliveryRow,
    ImageVersionRow,
    PauseRow,
    PipelineDecision,
    Queued,
    RepositoryRow,
    RunRow,
    StatusRow,
    StepRow,
    Turn,
)

BODY_SHOWN = 1024 * 1024  # bytes of a delivery's body in one answer


class Links(Value):
    """Addresses of things, for programs and for people."""

    base_url: str

    @property
    def api(self) -> str:
        """Where the API begins."""
        return f"{self.base_url}/api/v1"

    def run(self, run: int) -> str:
        """A run in the API."""
        return f"{self.api}/runs/{run}"

    def page(self, run: int) -> str:
        """A run's page."""
        return f"{self.base_url}/runs/{run}"

    def steps(self, run: int, attempt: int) -> str:
        """The steps of an attempt."""
        return f"{self.run(run)}/attempts/{attempt}/steps"

    def step(self, run: int, attempt: int, key: str) -> str:
        """What is below a step."""
        return f"{self.steps(run, attempt)}/{quote(key, safe='')}"

    def log(self, run: int, attempt: int, key: str) -> str:
        """A step's output."""
        return f"{self.step(run, attempt, key)}/log"

    def delivery(self, id: str) -> str:  # noqa: A002
        """A delivery in the API."""
        return f"{self.api}/deliveries/{id}"

    def runs_of(self, repository: str) -> str:
        """The runs of a repository."""
        return f"{self.api}/runs?{urlencode({'repository': repository})}"


def repository(links: Links, row: RepositoryRow) -> models.Repository:
    """A repository."""
    return models.Repository(
        id=row.id,
        host=row.host,
        name=row.full_name,
        default_branch=row.default_branch,
        private=row.private,
        created_at=row.created_at,
        runs=links.runs_of(row.full_name),
    )


def run_brief(links: Links, row: RunRow) -> models.RunBrief:
    """A run as it stands in a list."""
    event = row.event
    return models.RunBrief(
        id=row.id,
        url=links.run(row.id),
        page=links.page(row.id),
        repository=models.RepositoryName(host=row.host, name=row.full_name),
        pipeline=row.pipeline,
        event=event.kind,
        sha=row.sha,
        branch=row.branch,
        tag=event.tag,
        pull_request=event.pull_request,
        title=event.title,
        author=event.author,
        actor=event.actor,
        attempt=row.attempt,
        state=row.state,
        sentence=row.sentence,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def run(
    links: Links,
    row: RunRow,
    *,
    delivery: DeliveryRow | None,
    attempts: list[AttemptRow],
    steps: list[StepRow],
    images: list[ImageVersionRow],
    statuses: list[StatusRow],
    approvals: list[ApprovalRow],
    turn: Turn | None,
) -> models.Run:
    """A run with everything that belongs to it."""
    brief = run_brief(links, row)
    return models.Run(
        **{name: getattr(brief, name) for name in models.RunBrief.model_fields},
        waits_for=_waits_for(row, turn),
        context=row.context,
        happening=row.event,
        delivery=None if delivery is None else links.delivery(delivery.id),
        found=None if delivery is None else delivery.found,
        definition=models.Definition(
            file=row.definition_file, text=row.definition, problems=list(row.problems)
        ),
        attempts=[attempt(links, one) for one in attempts],
        steps=[step(links, one) for one in steps],
        images=[image(links, one) for one in images],
        statuses=[status(one) for one in statuses],
        approvals=[approval(one) for one in approvals],
    )


def approval(row: ApprovalRow) -> models.Approval:
    """Somebody was asked."""
    return models.Approval(
        attempt=row.attempt,
        step=row.step,
        sha=row.sha,
        person=row.stranger or None,
        prompt=row.prompt,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        verdict=row.verdict,
        answered_by=row.answered_by,
        answered_at=row.answered_at,
    )


def _waits_for(row: RunRow, turn: Turn | None) -> str | None:
    if row.state is State.HELD:
        return row.sentence
    return waits_for(turn) if row.state is State.WAITING else None


def waits_for(turn: Turn | None) -> str:
    """What an attempt that waits waits for."""
    return "waits for a slot" if turn is None else turn.sentence


def queued(links: Links, row: Queued, now: datetime) -> models.Queued:
    """An attempt that waits."""
    return models.Queued(
        run=run_brief(links, row.run),
        attempt=row.attempt,
        waits_since=row.since,
        waited_seconds=max((now - row.since).total_seconds(), 0.0),
        waits_for=waits_for(row.turn),
        waits_for_run=None if row.turn is None else links.run(row.turn.run),
    )


def attempt(links: Links, row: AttemptRow) -> models.Attempt:
    """An attempt."""
    return models.Attempt(
        number=row.number,
        state=row.state,
        reason=row.reason,
        sentence=row.sentence,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        cancelled_at=row.cancelled_at,
        cancelled_by=row.cancelled_by,
        output_removed_at=row.output_removed_at,
        superseded_by=None if row.superseded_by is None else links.run(row.superseded_by),
        steps=links.steps(row.run, row.number),
    )


def step(links: Links, row: StepRow) -> models.Step:
    """A step."""
    return models.Step(
        key=row.key,
        stage=row.stage,
        name=row.name,
        state=row.state,
        ready_at=row.ready_at,
        started_at=row.started_at,
        running_at=row.running_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        tries=row.tried,
        carried_from=row.carried_from,
        log=links.log(row.run, row.done_in, row.key),
    )


def image(links: Links, row: ImageVersionRow) -> models.ImageVersion:
    """An image version."""
    return models.ImageVersion(
        id=row.id,
        repository=row.full_name,
        run=links.run(row.run),
        attempt=row.attempt,
        step=row.step,
        image=row.image,
        digest=row.digest,
        reference=f"{row.image}@{row.digest}",
        tags=list(row.tags),
        sha=row.sha,
        branch=row.branch,
        size=row.size,
        created_at=row.created_at,
        level=row.level,
        verified_at=row.verified_at,
        lock=row.lock,
    )


def status(row: StatusRow) -> models.Status:
    """A commit status."""
    return models.Status(
        context=row.context,
        state=row.state,
        description=row.description,
        told=row.sent_version >= row.version,
        error=row.error,
    )


def delivery_brief(
    links: Links, row: DeliveryRow, decision: DecisionRow | None
) -> models.DeliveryBrief:
    """A delivery as it stands in a list."""
    return models.DeliveryBrief(
        id=row.id,
        url=links.delivery(row.id),
        page=f"{links.base_url}/deliveries/{row.id}",
        host=row.host,
        delivery_id=row.delivery_id,
        event_type=row.event_type,
        received_at=row.received_at,
        state=row.state,
        tries=row.tries,
        error=row.error,
        found=row.found,
        outcome=None if decision is None else decision.outcome,
        reason=None if decision is None else decision.reason,
    )


def delivery(
    links: Links, row: DeliveryRow, decided: DecisionRow | None, earlier: DecisionRow | None
) -> models.Delivery:
    """A delivery with what it brought; `earlier` is the decision it repeats."""
    brief = delivery_brief(links, row, decided)
    return models.Delivery(
        **{name: getattr(brief, name) for name in models.DeliveryBrief.model_fields},
        headers=clean_headers(row.headers),
        body=row.body[:BODY_SHOWN].decode("utf-8", "replace"),
        body_bytes=len(row.body),
        emptied_at=row.emptied_at,
        decision=None if decided is None else decision(links, decided, earlier),
    )


def pause(row: PauseRow) -> models.Pause:
    """A host or repository that is left alone."""
    return models.Pause(
        host=row.host,
        repository=row.full_name,
        kind=row.kind,
        reason=row.reason,
        since=row.since,
        until=row.until,
        statuses=row.statuses,
    )


def decision(links: Links, row: DecisionRow, earlier: DecisionRow | None) -> models.Decision:
    """A decision."""
    known = None if earlier is None else earlier.delivery
    return models.Decision(
        outcome=row.outcome,
        reason=row.reason,
        happening=row.event,
        pipelines=[_pipeline(links, one) for one in row.pipelines],
        duplicate_of=None if known is None else links.delivery(known),
        decided_at=row.decided_at,
    )


def _pipeline(links: Links, one: PipelineDecision) -> models.StartedRun:
    return models.StartedRun(
        pipeline=one.pipeline,
        file=one.file,
        started=one.start,
        reason=one.reason,
        conditions=list(one.conditions),
        problems=list(one.problems),
        run=None if one.run is None else links.run(one.run),
    )
