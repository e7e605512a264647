"""The demonstration from its beginning to its end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import docker
import requests
from docker.errors import DockerException

from pipelines.registries.manifests import ACCEPTED
from scripts.demonstration import following, parts
from scripts.parts.engine import engine
from scripts.parts.errors import PartError, say
from scripts.parts.registry import registry

STATE = parts.ROOT / ".lading"


class Stage(NamedTuple):
    """All that was started."""

    docker_url: str
    registry: str
    repository: parts.Repository
    server: parts.Server


def main() -> int:
    """Exit code: 0 when the image stands in the registry, 1 when not, 130 for Ctrl-C before."""
    once = _arguments().once
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        with _stage(once=once) as stage:
            started = time.monotonic()
            run = _demonstrate(stage)
            result = _result(run, time.monotonic() - started)
            _summary(stage, run)
            if run["state"] != "success" or not run["images"]:
                raise PartError(f"Run {run['id']} ended in {run['state']}: {run['sentence']}")
            _confirm(stage.registry, run["images"][0])
            if not once:
                _stay(stage)
    except KeyboardInterrupt:
        say("stopped before the end")
        return 130
    except (PartError, DockerException, requests.RequestException) as error:
        print(f"\nThe demonstration failed. {error}", file=sys.stderr)
        return 1
    if once:
        print(json.dumps(result), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="From a git push to a tested image in a registry, on this machine.",
    )
    parser.add_argument(
        "--once", action="store_true", help="stop everything at the end; the last line is JSON"
    )
    return parser.parse_args()


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _stage(*, once: bool) -> Iterator[Stage]:
    STATE.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        docker_url = stack.enter_context(engine(STATE / "engine"))
        folder = stack.enter_context(_temporary_folder())
        registry_address = stack.enter_context(registry(folder / "registry")).address
        repository = parts.repository(
            folder, base_name=parts.base(docker_url), registry=registry_address
        )
        stack.callback(_forget_images, docker_url, repository)
        port = parts.free_port(0 if once else 8000)
        config = parts.configuration(folder, docker_url=docker_url, port=port)
        stack.callback(parts.remove_what_runs_left, docker_url, config)
        server = stack.enter_context(parts.server(config, port))
        say(f"started Lading at {server.url}, with all it keeps in {folder}")
        stack.callback(_say_stopping)
        yield Stage(docker_url, registry_address, repository, server)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=STATE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say_stopping() -> None:
    # From here on everything is put away in order; a second Ctrl-C would leave half of it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    say("stopping what was started")


def _forget_images(docker_url: str, repository: parts.Repository) -> None:
    """Take off the engine what was built from the demonstration's commits, and nothing else."""
    with contextlib.closing(docker.DockerClient(base_url=docker_url, timeout=60)) as client:
        for sha in repository.pushed():
            made_from = {"label": f"org.opencontainers.image.revision={sha}"}
            for image in client.images.list(filters=made_from):
                client.images.remove(str(image.id), force=True)


def _demonstrate(stage: Stage) -> dict[str, Any]:
    token = stage.server.command("token", "create", "demo").split()[-1]
    bare = stage.repository.bare
    stage.server.command("hook", "install", str(bare), "--host", parts.HOST)
    print(f"\n$ git push origin main    # in {os.path.relpath(stage.repository.clone)}", flush=True)
    stage.repository.push()
    with following.Api(stage.server.url, token) as api:
        return following.follow(api, following.run_of(api, stage.repository.sha))


def _result(run: dict[str, Any], seconds: float) -> dict[str, Any]:
    image = run["images"][0] if run["images"] else {"image": None, "digest": None, "tags": []}
    return {
        "run": run["id"],
        "state": run["state"],
        "image": ":".join([image["image"], *image["tags"][:1]]) if image["image"] else None,
        "digest": image["digest"],
        "seconds": round(seconds, 1),
    }


def _summary(stage: Stage, run: dict[str, Any]) -> None:
    took = following.seconds(run)
    print(f"\nRun {run['id']}: {run['state']}" + ("" if took is None else f" in {took:.1f} s"))
    for step in run["steps"]:
        took = following.seconds(step)
        time_taken = "" if took is None else f"{took:6.1f} s"
        print(
            f"  {following.mark(step['state'])} {step['key']:<12} {step['state']:<9} {time_taken}"
        )
    for image in run["images"]:
        print(f"\nImage   {image['image']}, tags {', '.join(image['tags'])}")
        print(f"Digest  {image['digest']}")
        print(f"Pull    docker --host {stage.docker_url} pull {image['reference']}")
    print(f"Page    {run['page']}", flush=True)


def _confirm(registry_address: str, image: dict[str, Any]) -> None:
    """The registry itself must have what Lading says it pushed."""
    path = image["image"].removeprefix(f"{registry_address}/")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.head(
            f"http://{registry_address}/v2/{path}/manifests/{image['digest']}",
            headers={"Accept": ", ".join(ACCEPTED)},
            timeout=20,
        )
    if not answer.ok:
        raise PartError(f"The registry does not have {image['reference']} ({answer.status_code}).")


def _stay(stage: Stage) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        print(
            f"\nLading stays up at {stage.server.url} until Ctrl-C. Change something and push "
            f"again:\n  cd {os.path.relpath(stage.repository.clone)} && "
            "git commit --allow-empty -m Again && git push",
            flush=True,
        )
        threading.Event().wait()
    print()


if __name__ == "__main__":
    sys.exit(main())
