"""A channel that runs push to, rolled back by a person, on real parts."""

from __future__ import annotations

from pipelines.progress import State
from tests.integration.flow.conftest import Flow
from tests.parts.images import request


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
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    return request(flow.registry, "HEAD", f"{path}/manifests/{tag}", kind=kind, accept=kind)[
        "Docker-Content-Digest"
    ]


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
