"""A deploy in whose middle the server ended moves its channel all the same, once it runs again."""

from __future__ import annotations

import pytest

from pipelines.progress import State
from scripts.parts.registry import Registry
from server.store import channels as verbs
from server.store.channels import MoveKind, MoveState
from tests.faults.conftest import Stage
from tests.parts.images import MANIFEST, request


@pytest.mark.parametrize("point", ["releases.begun", "releases.put"])
@pytest.mark.parametrize("commands", ["", ", commands: [echo once]"], ids=["alone", "commands"])
def test_a_move_that_was_cut_off_is_taken_up_by_its_deploy(
    stage: Stage, registry: Registry, point: str, commands: str
) -> None:
    table = f'[registries."{registry.address}"]\n'
    table += f'username = "{registry.username}"\npassword = "{registry.password}"\n'
    stage.server.config.write_text(stage.server.config.read_text() + table)
    stage.server.start(crash_at=point)
    path = f"acme/{point.replace('.', '-')}-{len(commands)}"
    definition = (
        f"build: {{web: {{}}}}\npush: {{web: {{to: {registry.address}/{path}}}}}\n"
        f"deploy: {{live: {{channel: live{commands}}}}}\n"
    )
    files: dict[str, str | bytes] = {
        ".lading.yml": definition,
        "Dockerfile": f"FROM {stage.image}\nCOPY . /app\n",
    }
    stage.deliver(stage.delivery(stage.repository.pushed(files)))
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1), run.sentence
    moves = stage.server.read(verbs.moves, name="live")
    (channel,) = (one for one in stage.server.read(verbs.all_channels) if one.name == "live")
    there = request(registry, "HEAD", f"{path}/manifests/live", accept=MANIFEST)
    assert there["Docker-Content-Digest"] == channel.digest
    first = MoveState.FAILED if point == "releases.begun" else MoveState.MOVED
    assert [(move.kind, move.state) for move in reversed(moves)] == [
        (MoveKind.DEPLOY, first),
        (MoveKind.DEPLOY, MoveState.MOVED),
    ]
    assert stage.log("deploy.live").count("\nonce\n") == (1 if commands else 0)
