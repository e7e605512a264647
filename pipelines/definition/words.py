"""Keys that are not in the models: what comes later, and what other systems call our keys."""

from __future__ import annotations

from pipelines.definition.fields import near
from pipelines.definition.models import (
    Build,
    Concurrency,
    Definition,
    FromBuild,
    FromSecret,
    Input,
    Paths,
    PipelineWhen,
    Push,
    Resources,
    StepWhen,
    Test,
)
from pipelines.definition.recipes import Run
from pipelines.values import Value

PLACES: dict[str, type[Value]] = {
    "pipeline": Definition,
    "when": PipelineWhen,
    "input": Input,
    "step_when": StepWhen,
    "path": Paths,
    "concurrency": Concurrency,
    "image": FromBuild,
    "build": Build,
    "run": Run,
    "test": Test,
    "secret": FromSecret,
    "resources": Resources,
    "push": Push,
}
"""Each place where keys stand, and the model that knows them."""

NOT_YET: dict[str, frozenset[str]] = {
    "pipeline": frozenset({"deploy"}),
    "build": frozenset({"secrets", "platforms"}),
    "test": frozenset(
        {
            "services",
            "cache",
            "reports",
            "artifacts",
            "retry",
        }
    ),
    "push": frozenset(),
}
"""Keys of the language that this version does not do yet. Building one means deleting it here."""

_HERE = "here it is `"
_STAGES = "steps stand under `build`, `test` and `push`"
_NO_HOST = "steps never reach the machine they run on"
_TURNS = "here it is `concurrency: "
_LOGIN = "logins are set on the server, never in the file"

FOREIGN: dict[str, str] = {
    "script": "here it is `commands`",
    "run": "here it is `commands`",
    "cmd": "here it is `commands`",
    "command": "here it is `commands`",
    "before_script": "put it first in `commands`",
    "after_script": "put it last in `commands`",
    "depends_on": "here it is `needs`",
    "dependencies": "here it is `needs`",
    "variables": "here it is `env`",
    "environment": "here it is `env`",
    "secrets": "here it is `env: {NAME: {from_secret: name}}`, in the step",
    "on": "here it is `when`",
    "trigger": "here it is `when`",
    "if": "here it is `when`",
    "only": "here it is `when`",
    "except": "here it is `when`",
    "rules": "here it is `when`",
    "workflow": "here it is `when`",
    "container": "here it is `image`",
    "stage": _STAGES,
    "stages": f"the stages are fixed; {_STAGES}",
    "jobs": _STAGES,
    "job": _STAGES,
    "steps": _STAGES,
    "pipeline": _STAGES,
    "uses": "there are no actions; write the commands themselves",
    "with": "there are no actions; write the commands themselves",
    "continue-on-error": "here it is `allow_failure`",
    "soft_fail": "here it is `allow_failure`",
    "strategy": "here it is `matrix`, straight in the step",
    "parallel": "here it is `matrix`",
    "failure": "`failure: ignore` is `allow_failure: true` here",
    "mem_limit": "here it is `resources: {memory: 512MiB}`",
    "timeout-minutes": "here it is `timeout`, like `10m`",
    "timeout_in_minutes": "here it is `timeout`, like `10m`",
    "runs-on": "every step runs in a container; choose its `image`",
    "cancel-in-progress": f"{_TURNS}{{cancel_in_progress: true}}`",
    "interruptible": f"{_TURNS}{{cancel_in_progress: true}}`",
    "resource_group": f"{_TURNS}{{group: …}}`",
    "concurrency_group": f"{_TURNS}{{group: …}}`",
    "file": "here it is `dockerfile`",
    "build_args": "here it is `args`",
    "build-args": "here it is `args`",
    "repo": "here it is `to`",
    "repository": "here it is `to`",
    "registry": "here it is part of `to`: `ghcr.io/acme/web`",
    "destination": "here it is `to`",
    "username": _LOGIN,
    "password": _LOGIN,
    "privileged": _NO_HOST,
    "volumes": _NO_HOST,
    "cap_add": _NO_HOST,
    "devices": _NO_HOST,
    "network_mode": _NO_HOST,
    "<<": "merge keys are not read; an alias may stand for a whole value: `env: *shared`",
}
"""What other systems call things, and what to write here."""

BESIDE_A_TEMPLATE = frozenset(
    {"version", "base", "packages", "dependencies", "steps", "files", "env", "labels", "run"}
)
"""Keys of a build that mean something only where a template takes them."""

FOREIGN_IN: dict[str, dict[str, str]] = {
    "when": {
        "branches": "here it is `branch`",
        "tags": "here it is `tag`",
        "paths": "here it is `path`",
        "changes": "here it is `path`",
        "events": "here it is `event`",
    },
    "run": {
        "cmd": "here it is `command`",
        "commands": "here it is `command`: one program; what is done before belongs in `steps`",
        "entrypoint": "here it is `command`",
        "ports": "here it is `port`: one number",
        "working_dir": "here it is `workdir`",
        "health_check": "here it is `healthcheck`",
        "env": "`env` stands beside `run`",
    },
    "concurrency": {
        "cancel-in-progress": "here it is `cancel_in_progress`",
        "interruptible": "here it is `cancel_in_progress`",
        "resource_group": "here it is `group`",
        "concurrency_group": "here it is `group`",
        "key": "here it is `group`",
        "name": "here it is `group`",
        "limit": "the runs of a group always run one at a time",
    },
}
"""The same for words that mean something else outside of that place."""


def is_not_yet(place: str, key: str) -> bool:
    """Whether the language has the key there, but this version does not do it."""
    return key in NOT_YET.get(place, ())


def keys(place: str) -> list[str]:
    """The keys of a place as the file spells them."""
    return [info.alias or name for name, info in PLACES[place].model_fields.items()]


def meant(key: str) -> str | None:
    """Our key, where another system's word is all that is wrong with it."""
    taught = FOREIGN.get(key, "")
    return taught.removeprefix(_HERE).rstrip("`") if taught.startswith(_HERE) else None


def hint(place: str, key: str) -> str:
    """What to write in place of a key that is unknown there."""
    if place == "build" and key in BESIDE_A_TEMPLATE:
        return f"`{key}` goes with a `template`; a Dockerfile says it itself"
    taught = FOREIGN | FOREIGN_IN.get("when" if place == "step_when" else place, {})
    if key in taught:
        return taught[key]
    if elsewhere := [other for other in PLACES if key in keys(other) or is_not_yet(other, key)]:
        return f"`{key}` belongs in `{elsewhere[0]}`"
    if key in BESIDE_A_TEMPLATE:
        return f"`{key}` belongs in `build`, beside a `template`"
    if alike := near(key, keys(place)):
        return alike
    return "known here: " + ", ".join(keys(place))


def lacking(key: str) -> str:
    """What to add where a key is missing."""
    return _LACKING[key]


_LACKING = {
    "commands": "`commands: [pytest -q]`",
    "to": "`to: ghcr.io/acme/web`",
    "from": "`{from: build.web}`",
    "from_secret": "`{from_secret: name}`",
}
