"""The tables. A change here comes with a migration in `migrations/versions`."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware UTC time, kept as microseconds since 1970 so that it sorts on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Microseconds of an aware time."""
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The aware time of some microseconds."""
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host", String(100), nullable=False),
    Column("external_id", String(255), nullable=False),
    Column("full_name", String(255), nullable=False),
    Column("default_branch", String(255)),
    Column("private", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("heads_at", Instant),
    UniqueConstraint("host", "external_id"),
    Index(None, "full_name"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("host", String(100), nullable=False),
    Column("delivery_id", String(255), nullable=False),
    Column("event_type", String(100), nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("state", String(20), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("emptied_at", Instant),
    Column("repository", String(255)),
    Column("found", String(20)),
    UniqueConstraint("host", "delivery_id"),
    Index(None, "state", "host", "repository", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery", String(24), ForeignKey("deliveries.id"), unique=True),
    Column("repository", Integer, ForeignKey("repositories.id")),
    Column("event_key", Text),
    Column("outcome", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("event", JSON),
    Column("pipelines", JSON, nullable=False),
    Column("duplicate_of", Integer, ForeignKey("decisions.id")),
    Column("decided_at", Instant, nullable=False),
    Column("ref", Text),
    Column("sha", String(64)),
    UniqueConstraint("repository", "event_key"),
    Index(None, "duplicate_of"),
    Index(None, "repository", "ref"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("decision", Integer, ForeignKey("decisions.id"), nullable=False),
    Column("pipeline", String(100), nullable=False),
    Column("event", JSON, nullable=False),
    Column("sha", String(64), nullable=False),
    Column("branch", Text),
    Column("definition_file", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("plan", JSON),
    Column("problems", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("group_key", Text),
    Column("group_ref", Text),
    Column("stranger", Text),
    UniqueConstraint("decision", "pipeline"),
    Index(None, "repository", "id"),
    Index(None, "state", "id"),
    Index(None, "group_key", "group_ref", "id"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("cancelled_at", Instant),
    Column("cancelled_by", Text),
    Column("output_removed_at", Instant),
    Column("group_key", Text),
    Column("superseded_by", Integer),
    # All that `claim_attempt` looks at, in its order: of 10,000 that wait it reads no row.
    Index(None, "state", "created_at", "run", "number", "group_key"),
    Index(None, "group_key", "state", "created_at", "run"),
)

steps = Table(
    "steps",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("stage", String(20), nullable=False),
    Column("name", String(150), nullable=False),
    Column("state", String(20), nullable=False),
    Column("ready_at", Instant),
    Column("started_at", Instant),
    Column("running_at", Instant),
    Column("ended_at", Instant),
    Column("outcome", JSON),
    Column("carried_from", Integer),
    Column("started_uptime", JSON),
    Column("tries", JSON),
    ForeignKeyConstraint(["run", "attempt"], ["attempts.run", "attempts.number"]),
)

kept = Table(
    "kept",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", String(200), primary_key=True),
    Column("files", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("notes", JSON, nullable=False),
    Column("total", Integer),
    Column("failed", Integer),
    Column("errors", Integer),
    Column("skipped", Integer),
    Column("seconds", Float),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("removed_at", Instant),
    ForeignKeyConstraint(["run", "attempt"], ["attempts.run", "attempts.number"]),
    Index(None, "expires_at"),
)

# Who approved what is kept when the run is gone: so `run` is no foreign key.
approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", String(200)),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("stranger", Text),
    Column("prompt", Text, nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("verdict", String(20)),
    Column("answered_by", Text),
    Column("answered_at", Instant),
    Index(None, "run", "attempt"),
    Index(None, "repository", "sha"),
    Index(None, "verdict", "expires_at"),
)

image_versions = Table(
    "image_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("run", Integer, ForeignKey("runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", String(200), nullable=False),
    Column("image", Text, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("sha", String(64), nullable=False),
    Column("branch", Text),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("lock", JSON),
    Column("level", String(2)),
    Column("verified_at", Instant),
    UniqueConstraint("run", "attempt", "step"),
    Index(None, "image", "id"),
)

statuses = Table(
    "statuses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("context", String(255), nullable=False),
    Column("host", String(100), nullable=False),
    Column("ref", Text),
    Column("run", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("target_url", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sent_version", Integer, nullable=False),
    Column("due_at", Instant),
    Column("changed_at", Instant, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("waits_since", Instant),
    UniqueConstraint("repository", "sha", "context"),
    Index(None, "due_at"),
    Index(None, "run"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("note", Text, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("repository", Integer, ForeignKey("repositories.id"), primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("object", String(64), nullable=False),
    Column("seen_at", Instant, nullable=False),
)

asked_deliveries = Table(
    "asked_deliveries",
    metadata,
    Column("host", String(100), primary_key=True),
    Column("delivery_id", String(255), primary_key=True),
    Column("times", Integer, nullable=False),
    Column("asked_at", Instant, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("host", String(100), primary_key=True),
    Column("repository", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
)

upgrades = Table(
    "upgrades",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("version", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

timetable = Table(
    "timetable",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("file", Text, nullable=False),
    Column("pipeline", String(100), nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", String(100), nullable=False),
    Column("missed", String(20), nullable=False),
    Column("next_at", Instant, nullable=False),
    UniqueConstraint("repository", "file", "cron", "timezone"),
    Index(None, "next_at"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Integer, ForeignKey("repositories.id")),
    Column("name", String(63), nullable=False),
    Column("key", String(12), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("events", JSON, nullable=False),
    Column("branches", JSON, nullable=False),
    Column("steps", JSON, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    UniqueConstraint("repository", "name"),
)
# Two NULLs are not equal in a unique index, and the server's own secrets have no repository.
_OF_THE_SERVER = secrets.c.repository.is_(None)
Index(
    "uq_secrets_name_of_server",
    secrets.c.name,
    unique=True,
    sqlite_where=_OF_THE_SERVER,
    postgresql_where=_OF_THE_SERVER,
)

registries = Table(
    "registries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host", String(255), nullable=False, unique=True),
    Column("kind", String(30), nullable=False),
    Column("key", String(12), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("creates", Boolean, nullable=False),
    Column("insecure", Boolean, nullable=False),
    Column("guarded", Boolean, nullable=False),
    Column("probe", Text),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("checked_at", Instant),
    Column("fault", Text),
)

registry_limits = Table(
    "registry_limits",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("most", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    Column("window", Integer),
    Column("seen_at", Instant, nullable=False),
)

channels = Table(
    "channels",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image", Text, nullable=False),
    Column("name", String(128), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("moved_at", Instant, nullable=False),
    Column("paused_at", Instant),
    Column("paused_by", Text),
    UniqueConstraint("image", "name"),
)

channel_moves = Table(
    "channel_moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image", Text, nullable=False),
    Column("channel", String(128), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("from_digest", String(80)),
    Column("digest", String(80), nullable=False),
    Column("run", Integer),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("error", Text),
    Column("at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(None, "image", "channel", "id"),
    Index(None, "digest"),
)
# One mover at a time, whatever process it is in.
_UNDER_WAY = channel_moves.c.state == "moving"
Index(
    "uq_channel_moves_under_way",
    channel_moves.c.image,
    channel_moves.c.channel,
    unique=True,
    sqlite_where=_UNDER_WAY,
    postgresql_where=_UNDER_WAY,
)

image_contents = Table(
    "image_contents",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("parts", JSON, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

announcements = Table(
    "announcements",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("move", Integer, primary_key=True, autoincrement=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", Instant),
    Column("told_at", Instant),
    Column("error", Text),
)
