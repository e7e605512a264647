"""A channel that runs push to, rolled back by a person, on real parts."""

from __future__ import annotations

from pipelines.progress import State
from tests.integration.flow.conftest import Flow
from tests.parts.images import MANIFEST, request


def pushed(flow: Flow, image: str, text: str) -> tuple[int, str]:
    """A push of the default branch; its run, and the digest it made."""
    files = {
        "Dockerfile": f"FROM {flow.image}\nCOPY greeting /greeting\n",
        "greeting": text,
        ".lading.yml": f"build:\n  web: {{}}\npush:\n  web:\n    to: {image}\n",
    }
    sha = flow.push(files)
    run = flow.run_of(flow.tell_github(sha))
    assert flow.server.ended(run).state is State.SUCCESS, flow.server.run(run).sentence
    (version,) = flow.server.images(run)
    return run, version.digest


def under(flow: Flow, path: str, tag: str) -> str:
    told = request(flow.registry, "HEAD", f"{path}/manifests/{tag}", accept=MANIFEST)
    return told["Docker-Content-Digest"]


def test_after_a_rollback_runs_push_all_but_the_channel_until_they_are_let(flow: Flow) -> None:
    path = f"acme/{flow.web.full_name.rpartition('/')[2]}"
    image = f"{flow.registry.address}/{path}"
    _, good = pushed(flow, image, "good")
    _, bad = pushed(flow, image, "bad")
    assert under(flow, path, "latest") == bad

    moved = flow.server.api.post("/rollbacks", json={"image": image, "channel": "latest"})
    assert moved.status_code == 201, moved.text
    assert under(flow, path, "latest") == good

    run, worse = pushed(flow, image, "worse")
    assert under(flow, path, "main") == worse
    assert under(flow, path, "latest") == good
    assert "latest" not in flow.server.images(run)[0].tags
    assert "lading channel resume" in flow.server.log(run, "push.web")

    flow.server.api.post("/channels/resume", json={"image": image, "channel": "latest"})
    _, better = pushed(flow, image, "better")
    assert under(flow, path, "latest") == better
    told = flow.server.api.get("/moves", params={"image": image, "channel": "latest"}).json()
    assert [move["kind"] for move in told["items"]] == ["push", "rollback", "push", "push"]


DEPLOYS = """\
build:
  web: {{}}
push:
  web: {{to: {image}, tags: ["${{branch}}"]}}
deploy:
  production: {{channel: production}}
  live: {{channel: live, commands: [cat /greeting, "! grep bad /greeting"]}}
"""


def deployed(flow: Flow, image: str, text: str) -> tuple[int, str]:
    """A push whose pipeline moves channels; its run, and the digest it made."""
    sha = flow.push(
        {
            "Dockerfile": f"FROM {flow.image}\nCOPY greeting /greeting\n",
            "greeting": text,
            ".lading.yml": DEPLOYS.format(image=image),
        }
    )
    run = flow.run_of(flow.tell_github(sha))
    flow.server.ended(run)
    (version,) = flow.server.images(run)
    return run, version.digest


def test_a_deploy_moves_its_channel_to_what_the_run_pushed_until_somebody_rolls_back(
    flow: Flow,
) -> None:
    path = f"acme/{flow.web.full_name.rpartition('/')[2]}"
    image = f"{flow.registry.address}/{path}"
    run, first = deployed(flow, image, "first")
    assert flow.server.run(run).state is State.SUCCESS, flow.server.run(run).sentence
    assert under(flow, path, "production") == under(flow, path, "live") == first
    told = flow.server.api.get("/moves", params={"image": image, "channel": "production"}).json()
    (move,) = told["items"]
    assert (move["kind"], move["state"], move["digest"]) == ("deploy", "moved", first)
    assert (move["run"].rpartition("/")[2], move["by"]) == (str(run), f"run {run}")
    assert move["why"] == f"deploy.production of run {run}"
    assert f"production of {image} leads to {first}" in flow.server.log(run, "deploy.production")

    _, second = deployed(flow, image, "second")
    assert under(flow, path, "production") == second
    moved = flow.server.api.post("/rollbacks", json={"image": image, "channel": "production"})
    assert moved.status_code == 201, moved.text

    run, third = deployed(flow, image, "third")
    assert under(flow, path, "production") == first
    assert under(flow, path, "live") == third
    assert flow.server.run(run).state is State.ERROR
    assert "lading channel resume" in flow.server.log(run, "deploy.production")


def test_a_channel_stays_where_it_is_when_the_commands_before_it_fail(flow: Flow) -> None:
    path = f"acme/{flow.web.full_name.rpartition('/')[2]}"
    image = f"{flow.registry.address}/{path}"
    _, good = deployed(flow, image, "good")

    run, bad = deployed(flow, image, "bad")

    assert flow.server.run(run).state is State.FAILURE
    assert under(flow, path, "production") == bad
    assert under(flow, path, "live") == good
