"""Which secrets the steps of an attempt get, and keeping them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from sqlalchemy.engine import Connection

from pipelines.definition.fields import SECRET_NAME
from pipelines.events import Event, EventKind
from pipelines.globs import Globs
from pipelines.plan import Plan, Step
from pipelines.problems import LadingError
from pipelines.redaction import LEAST, StepSecrets
from server.clock import Clock
from server.store import Database
from server.store import registries as registry_verbs
from server.store import repositories as repository_verbs
from server.store import secrets as secret_verbs
from server.store.rows import Bounds, NewSecret, RepositoryRow, RunRow, SealedSecret, SecretRow
from server.vault import Vault, VaultError

log = structlog.get_logger(__name__)

MAX_BYTES = 64 * 1024


class SecretRefusedError(LadingError):
    """A secret cannot be stored as it is."""


class SecretNameError(SecretRefusedError):
    """What a secret shall be called cannot be a name."""


class NoOwnerError(LadingError):
    """Whose secret it is, is not known; the message says which there are."""


class NoSuchSecretError(LadingError):
    """There is no secret of that name and owner."""


class Secrets:
    """Stored secrets, sealed with the vault's key."""

    def __init__(self, *, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def of(self, run: RunRow, plan: Plan) -> StepSecrets:
        """What each step of a run's plan gets.

        Raises:
            VaultError: The key file does not open what is stored.
        """
        names = {name for step in plan.steps for name in _named(step)}
        if not names:
            return StepSecrets()
        if not run.trusted:
            return _refuse_all(plan, f"{run.event.stranger} gets no secrets")
        sealed = await self._database.read(secret_verbs.sealed_secrets, run.repository, names)
        return await asyncio.to_thread(
            given, run.event, plan, sealed, self._vault, repository=run.full_name
        )

    def sealed(
        self, *, repository: int | None, name: str, value: str, bounds: Bounds, by: str
    ) -> NewSecret:
        """A secret ready to be stored.

        Raises:
            SecretNameError: It cannot be called so.
            SecretRefusedError: It is empty, too large, or holds what no variable can.
            VaultError: The key file cannot be used.
        """
        if SECRET_NAME.fullmatch(name) is None:
            raise SecretNameError(
                f"{name[:100]!r} cannot be a secret's name: lower-case letters, digits and _, at "
                "most 63, a letter first"
            )
        if not value or "\0" in value or len(value.encode()) > MAX_BYTES:
            raise SecretRefusedError(
                f"a secret is a text of 1 to {MAX_BYTES} bytes without NUL: check what was given"
            )
        key, sealed = self._vault.seal(value)
        return NewSecret(
            repository=repository,
            name=name,
            key=key,
            sealed=sealed,
            changed_by=by,
            **bounds.model_dump(include=set(Bounds.model_fields)),
        )

    async def set(
        self, *, repository: int | None, name: str, value: str, bounds: Bounds, by: str
    ) -> None:
        """Store a secret; see `sealed`."""
        new = await asyncio.to_thread(
            self.sealed, repository=repository, name=name, value=value, bounds=bounds, by=by
        )
        await self._database.write(secret_verbs.set_secret, new, at=self._clock())
        log.info("secret set", secret=name, repository=repository, by=by)

    async def put(
        self,
        *,
        repository: str | None,
        host: str | None,
        name: str,
        value: str,
        bounds: Bounds,
        by: str,
    ) -> SecretRow:
        """Store a secret of a repository known by its name, or of the server; see `sealed`.

        Raises:
            NoOwnerError: There is no such repository, or there are several.
        """
        owner = await self._database.read(owner_of, repository, host)
        number = None if owner is None else owner.id
        await self.set(repository=number, name=name, value=value, bounds=bounds, by=by)
        return next(row for row in await self.all() if (row.repository, row.name) == (number, name))

    async def all(self) -> list[SecretRow]:
        """Every secret, without what it holds."""
        return await self._database.read(secret_verbs.all_secrets)

    async def remove(self, *, repository: str | None, host: str | None, name: str, by: str) -> None:
        """Remove a secret.

        Raises:
            NoOwnerError: There is no such repository, or there are several.
            NoSuchSecretError: It has none of that name.
        """
        owner = await self._database.read(owner_of, repository, host)
        number = None if owner is None else owner.id
        if not await self._database.write(secret_verbs.remove_secret, name=name, repository=number):
            raise NoSuchSecretError(no_such_secret(name, repository))
        log.info("secret removed", secret=name, repository=number, by=by)


def is_hidden(value: str) -> bool:
    """Whether a secret is long enough to be taken out of output."""
    return len(value.strip().encode()) >= LEAST


def owner_of(conn: Connection, repository: str | None, host: str | None) -> RepositoryRow | None:
    """The repository that a secret belongs to; None for the server's own.

    Raises:
        NoOwnerError: There is none of that name, or several hosts have one.
    """
    if repository is None:
        return None
    rows = repository_verbs.repositories_named(conn, repository)
    found = [row for row in rows if host in (None, row.host)]
    if not found:
        raise NoOwnerError(
            f"no repository {repository[:255]!r} is known{f' at host {host[:100]}' if host else ''}"
            ": it becomes known with its first delivery"
        )
    if len(found) > 1:
        raise NoOwnerError(
            f"several hosts have a repository {repository} "
            f"({', '.join(row.host for row in found)}): say which host is meant"
        )
    return found[0]


def no_such_secret(name: str, repository: str | None) -> str:
    """Why nothing was removed, and what to do."""
    return (
        f"{repository or 'the server'} has no secret {name[:100]!r}: `lading secret list` names "
        "them all"
    )


def refuse_lost_keys(conn: Connection, vault: Vault) -> None:
    """See that the vault opens what is stored.

    Raises:
        VaultError: A key is missing.
    """
    used = [*secret_verbs.keys_in_use(conn), *registry_verbs.registry_keys_in_use(conn)]
    lost = [key for key in used if not vault.holds(key)]
    if lost:
        raise VaultError(
            f"{vault.path} does not hold the key {lost[0]} that secrets were sealed with: put the "
            "key file back from where you keep it (it is not in backups of the database), or "
            "remove the secrets with `lading secret remove`, the registries with `lading registry "
            "remove`, and set them anew"
        )


def rotate(conn: Connection, vault: Vault) -> int:
    """Seal every secret, and every registry's login, with the newest key; how many."""
    sealed = secret_verbs.every_sealed(conn)
    for each in sealed:
        key, text = vault.seal(vault.open(each.key, each.sealed))
        secret_verbs.reseal(conn, each.id, key=key, sealed=text)
    logins = registry_verbs.all_registries(conn)
    for row in logins:
        key, text = vault.seal(vault.open(row.key, row.sealed))
        registry_verbs.reseal_registry(conn, row.host, key=key, sealed=text)
    return len(sealed) + len(logins)


def given(
    event: Event, plan: Plan, sealed: Iterable[SealedSecret], vault: Vault, *, repository: str
) -> StepSecrets:
    """What each step gets of the secrets that its repository may have.

    Args:
        event: What happened; it decides with the secrets' bounds.
        plan: Whose steps name secrets.
        sealed: The server's before the repository's own, which win.
        vault: Opens them.
        repository: Its name, for people.
    """
    known = {secret.name: secret for secret in sealed}
    values: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    for step in plan.steps:
        faults = [
            fault
            for name in dict.fromkeys(_named(step))
            if (fault := _refusal(event, step, name, known.get(name), repository))
        ]
        if faults:
            refused[step.key] = f"{step.key} cannot run: {'; '.join(faults)}"
            continue
        for who, named in step.named_secrets.items():
            values[who] = {
                variable: vault.open(known[name].key, known[name].sealed)
                for variable, name in named.items()
            }
    return StepSecrets(values=values, refused=refused)


def _refusal(
    event: Event, step: Step, name: str, secret: SealedSecret | None, repository: str
) -> str | None:
    if secret is None:
        return f"there is no secret {name}: `lading secret set {name} --repository {repository}`"
    if secret.events and event.kind not in secret.events:
        return f"secret {name} is for {', '.join(secret.events)}, this was {event.kind}"
    if secret.branches:
        pushed = event.branch if event.kind is not EventKind.PULL_REQUEST else None
        if pushed is None or not Globs(secret.branches).match(pushed):
            return f"secret {name} is for branch {', '.join(secret.branches)} alone"
    if secret.steps and not Globs(secret.steps).match(step.key):
        return f"secret {name} is for the steps {', '.join(secret.steps)} alone"
    return None


def _named(step: Step) -> list[str]:
    """The secrets that a step and its services name."""
    return [name for named in step.named_secrets.values() for name in named.values()]


def _refuse_all(plan: Plan, why: str) -> StepSecrets:
    named = [step for step in plan.steps if step.named_secrets]
    return StepSecrets(refused={step.key: f"{step.key} cannot run: {why}" for step in named})
