"""What goes with a step's commands, from the definition into the plan: services, cache, secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pipelines import placeholders
from pipelines.caching import Scopes, scopes
from pipelines.definition import models
from pipelines.definition.models import FromSecret, Test
from pipelines.events import Event
from pipelines.plan import Cache, Ready, Service


def services(test: Test, named: Callable[[str, str], str]) -> Iterator[Service]:
    """The services of a step; `named` fills an image's name, given with the service's."""
    for name, service in test.services.items():
        env, secrets = parted(service.env)
        yield Service(
            name=name,
            image=named(service.image, name),
            args=service.args,
            env=env,
            secrets=secrets,
            ready=_ready(service.ready),
        )


def cache(
    asked: models.Cache | None, event: Event, values: Mapping[str, str | None]
) -> Cache | None:
    """The cache of a step as the event may use it; `values` are what placeholders stand for."""
    if asked is None:
        return None
    key = placeholders.fill(asked.key, values)
    found = scopes(event)
    if key is None:
        kind = event.kind.replace("_", " ")
        found = Scopes(reads=(), writes=None, refusal=f"`{asked.key}` is no key for a {kind}")
    return Cache(key=key or asked.key, paths=asked.paths, **found.model_dump())


def parted(env: Mapping[str, str | FromSecret]) -> tuple[dict[str, str], dict[str, str]]:
    """The texts of an environment, and the names of its secrets."""
    texts = {name: text for name, text in env.items() if isinstance(text, str)}
    secrets = {name: text.from_secret for name, text in env.items() if isinstance(text, FromSecret)}
    return texts, secrets


def _ready(asked: models.Ready | None) -> Ready | None:
    if asked is None:
        return None
    return Ready(port=asked.port, command=asked.command, within=asked.timeout)
