"""Keys that are not in the models: what comes later, and what other systems call our keys."""

from __future__ import annotations

from pipelines.definition.fields import near
from pipelines.definition.models import (
    Approval,
    Artifacts,
    Build,
    Cache,
    Concurrency,
    Definition,
    Deploy,
    FromBuild,
    FromSecret,
    Input,
    Paths,
    PipelineWhen,
    Push,
    Ready,
    Reports,
    Resources,
    Service,
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
    "service": Service,
    "ready": Ready,
    "cache": Cache,
    "artifacts": Artifacts,
    "reports": Reports,
    "push": Push,
    "deploy": Deploy,
    "approval": Approval,
}
"""Each place where keys stand, and the model that knows them."""

NOT_YET: dict[str, frozenset[str]] = {
    "build": frozenset({"secrets", "platforms"}),
    "test": frozenset(),
    "push": frozenset(),
}
"""Keys of the language that this version does not do yet. Building one means deleting it here."""

_HERE = "here it is `"
_STAGES = "steps stand under `build`, `test`, `push` and `deploy`"
_NO_HOST = "steps never reach the machine they run on"
_TURNS = "here it is `concurrency: "
_ARTIFACTS = "here it is `artifacts: {paths: [htmlcov/]}`, in the step"
_JUNIT = "here it is `reports: {junit: report.xml}`, in the step"
_BOTH_WAYS = "they are kept whether the commands pass or fail"
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
    "artifact_paths": _ARTIFACTS,
    "store_artifacts": _ARTIFACTS,
    "upload-artifact": _ARTIFACTS,
    "artifact": _ARTIFACTS,
    "store_test_results": _JUNIT,
    "test_reports": _JUNIT,
    "junit_xml": _JUNIT,
    "<<": "merge keys are not read; an alias may stand for a whole value: `env: *shared`",
}
"""What other systems call things, and what to write here."""

_PROBED = "here it is `ready: {command: …}`, or `ready: {port: 5432}`"
_NAMED = "the name under `services` is the one it is reached by"
_ARGS = "here it is `args`: `[postgres, -c, fsync=off]`"
_SERVICE: dict[str, str] = {
    "options": _PROBED,
    "healthcheck": _PROBED,
    "health_check": _PROBED,
    "ports": "every port is reached by the service's name; `ready: {port: 5432}` waits for one",
    "port": "here it is `ready: {port: 5432}`",
    "command": _ARGS,
    "commands": _ARGS,
    "entrypoint": _ARGS,
    "alias": _NAMED,
    "name": _NAMED,
    "credentials": _LOGIN,
    "depends_on": "services start side by side; let the one wait for the other itself",
    "secrets": "here it is `env: {NAME: {from_secret: name}}`",
}
_BRANCHES = "a branch that has none yet takes the default branch's by itself"
_RULES = "it is kept after a success, and never by a pull request"
_CACHE: dict[str, str] = {
    "path": "here it is `paths`",
    "mount": "here it is `paths`",
    "folders": "here it is `paths`",
    "name": "here it is `key`",
    "restore-keys": _BRANCHES,
    "fallback_keys": _BRANCHES,
    "policy": _RULES,
    "when": _RULES,
    "untracked": "name what is kept in `paths`",
    "restore": "a cache is restored before the commands by itself",
    "rebuild": "a cache is kept after a success by itself",
}

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
    "service": _SERVICE,
    "ready": {
        "timeout_seconds": "here it is `timeout`, like `90s`",
        "test": "here it is `command`",
        "tcp": "here it is `port`",
        "http": "here it is `command`, with a client that the service's image has",
    },
    "cache": _CACHE,
    "artifacts": {
        "path": "here it is `paths`",
        "expire-in": "here it is `expire_in`",
        "expires": "here it is `expire_in`",
        "retention-days": "here it is `expire_in`, like `14d`",
        "retention": "here it is `expire_in`, like `14d`",
        "when": _BOTH_WAYS,
        "if-no-files-found": "where nothing matches, the step's output and the run's page say so",
        "name": "they carry the step's name",
        "exclude": "name what to keep in `paths`; patterns like `dist/*.whl` may stand there",
        "untracked": "name what to keep in `paths`",
        "reports": "`reports` stands beside `artifacts`, in the step",
    },
    "reports": {
        "path": "here it is `junit`",
        "paths": "here it is `junit`",
        "xunit": "here it is `junit`",
        "when": _BOTH_WAYS,
    },
}
"""The same for words that mean something else outside of that place."""


def is_not_yet(place: str, key: str) -> bool:
    """Whether the language has the key there, but this version does not do it."""
    return key in NOT_YET.get(place, ())


def keys(place: str) -> list[str]:
    """The keys of a place as the file spells them."""
    return [info.alias or name for name, info in PLACES[place].model_fields.items()]


def meant(place: str, key: str) -> str | None:
    """Our key, where another system's word is all that is wrong with it."""
    taught = _taught(place).get(key, "")
    return taught.removeprefix(_HERE).rstrip("`") if taught.startswith(_HERE) else None


def _taught(place: str) -> dict[str, str]:
    return FOREIGN | FOREIGN_IN.get("when" if place == "step_when" else place, {})


def hint(place: str, key: str) -> str:
    """What to write in place of a key that is unknown there."""
    if place == "build" and key in BESIDE_A_TEMPLATE:
        return f"`{key}` goes with a `template`; a Dockerfile says it itself"
    taught = _taught(place)
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
    "image": "`image: postgres:16`",
    "key": "`cache: {key: pip, paths: [.cache]}`",
    "paths": "`paths: [htmlcov/]`",
    "commands": "`commands: [pytest -q]`",
    "to": "`to: ghcr.io/acme/web`",
    "from": "`{from: build.web}`",
    "junit": "`junit: report.xml`",
    "from_secret": "`{from_secret: name}`",
    "prompt": '`{prompt: "Ship it?"}`',
}
