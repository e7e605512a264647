"""Templates built and run for real: what comes out works, as nobody in particular."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from pipelines.engine.containers import Limits
from pipelines.events import Event, EventKind
from pipelines.images.context import context_stream, read_context
from pipelines.parsing import parse
from pipelines.plan import BuildWork, Plan
from pipelines.planning import PlanDefaults, plan
from pipelines.progress import Outcome, State
from pipelines.recipes import BuilderFeatures, Files, built_in, render_builds, sought
from pipelines.source import GitSource
from tests.integration.engine.bench import Bench, run

Made = Callable[[dict[str, str | bytes]], GitSource]
ROOMY = Limits(memory=1500 * 2**20, cpus=2.0, pids=512)
PATIENCE = 60
"""Seconds until a container answers."""


def planned(
    build: Mapping[str, object], source: GitSource, features: BuilderFeatures | None = None
) -> Plan:
    """A plan that builds `web`, of the files of a commit."""
    read = parse(json.dumps({"build": {"web": build}}), ".lading.yml")
    assert read.definition is not None, read.problems
    asked = sought([read.definition], built_in())
    texts = {path: raw.decode() for path in asked.paths if (raw := source.read(path)) is not None}
    files = Files(paths=frozenset(texts), texts=texts)
    event = Event(kind=EventKind.PUSH, repository="acme/web", sha=source.sha, ref="refs/heads/main")
    return plan(
        read.definition,
        event,
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
        defaults=PlanDefaults(timeout=300),
        rendered=render_builds(read.definition, built_in(), files, features),
    )


def by_buildkit(client: docker.DockerClient, build: Mapping[str, object], source: GitSource) -> str:
    """The id of the image that BuildKit makes, with cache mounts; it takes a plain tar, too."""
    work = planned(build, source, BuilderFeatures(cache_mounts=True)).steps[0].work
    assert isinstance(work, BuildWork)
    context = read_context(source, work)
    with context_stream(source, context) as stream:
        body = as_gnu_tar(b"".join(stream))
    api: Any = client.api  # the SDK cannot ask for this builder
    answer = api._post(
        api._url("/build"),
        params={"version": "2", "dockerfile": context.dockerfile},
        data=body,
        headers={"Content-Type": "application/x-tar"},
    )
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["error"] for each in told if "error" in each] == []
    (made,) = [each["aux"]["ID"] for each in told if each.get("id") == "moby.image.id"]
    return str(made)


def as_gnu_tar(archive: bytes) -> bytes:
    """The same files in a format that BuildKit recognises by its first bytes."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for entry in old:
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
    return made.getvalue()


def outcome(
    bench: Bench, made: Made, build: Mapping[str, object], files: dict[str, Any]
) -> Outcome:
    """What became of a build."""
    bench.limits, bench.source = ROOMY, made(files)
    return run(bench.outcomes(planned(build, bench.source)))["build.web"]


def image(bench: Bench, made: Made, build: Mapping[str, object], files: dict[str, Any]) -> str:
    """The id of the image that was built."""
    ended = outcome(bench, made, build, files)
    assert ended.built is not None, f"{ended.message}\n{bench.outputs.text('build.web')}"
    return ended.built.image_id


@contextmanager
def container(client: docker.DockerClient, name: str) -> Iterator[Container]:
    """A container of the image, run as it is."""
    running = client.containers.run(name, detach=True, network_mode="none", read_only=True)
    try:
        yield running
    finally:
        running.remove(force=True)


def printed(client: docker.DockerClient, name: str) -> str:
    """What the image's program says until it ends."""
    with container(client, name) as running:
        assert running.wait(timeout=PATIENCE)["StatusCode"] == 0, running.logs().decode()
        return running.logs().decode()


def inspected(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """The image's configuration and size."""
    found: dict[str, Any] = client.api.inspect_image(name)  # type: ignore[no-untyped-call]
    return found


def healthy(client: docker.DockerClient, running: Container, name: str) -> None:
    """Wait until the image's own health check says so."""
    check = inspected(client, name)["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    until = time.monotonic() + PATIENCE
    while (code := running.exec_run(check[1:]).exit_code) != 0:
        assert time.monotonic() < until, f"exit code {code}: {running.logs().decode()}"


def says(running: Container, *command: str) -> str:
    """What a command in the container writes; asked again where its words were lost."""
    until = time.monotonic() + PATIENCE
    while True:
        said = running.exec_run(list(command)).output
        if isinstance(said, bytes) and said:
            return said.decode()
        assert time.monotonic() < until, command


SERVER = """import http.server, os, greeting
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(f"{greeting.HELLO} from {os.getuid()}".encode())
http.server.HTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
"""


def wheel() -> bytes:
    """A package `greeting`, as pip installs it without a network."""
    info, data = "greeting-1.0.dist-info", io.BytesIO()
    files = {
        "greeting.py": "HELLO = 'hello'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for name, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return data.getvalue()


WHEEL = wheel()
HASHED = f"greeting==1.0 --hash=sha256:{hashlib.sha256(WHEEL).hexdigest()}\n"


def python_files(requirements: str = HASHED) -> dict[str, Any]:
    return {
        "requirements.txt": requirements,
        "vendor/greeting-1.0-py3-none-any.whl": WHEEL,
        "src/web.py": SERVER,
    }


def python(base: str, **more: object) -> dict[str, object]:
    return {
        "template": "python",
        "base": base,
        "wheels": "vendor",
        "files": ["src"],
        "env": {"PORT": "8080"},
        "run": {
            "command": ["python", "src/web.py"],
            "port": "8080",
            "user": "app",
            "healthcheck": "GET /healthz",
        },
        **more,
    }


def test_a_python_program_serves_with_what_its_lock_file_names(
    bench: Bench, docker_client: docker.DockerClient, pip_image: str, made: Made
) -> None:
    name = image(bench, made, python(pip_image), python_files())
    with container(docker_client, name) as running:
        healthy(docker_client, running, name)
        got = says(running, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/healthz")
        assert got == "hello from 10001"
        assert says(running, "whoami") == "app\n"
        listed = says(running, "sh", "-c", "find /app /opt -name '*.pyc'; echo end")
    assert listed == "end\n"


def test_buildkit_builds_it_with_cache_mounts_and_it_serves(
    docker_client: docker.DockerClient, pip_image: str, made: Made
) -> None:
    name = by_buildkit(docker_client, python(pip_image), made(python_files()))
    with container(docker_client, name) as running:
        healthy(docker_client, running, name)


def test_a_package_with_another_hash_is_not_installed(
    bench: Bench, pip_image: str, made: Made
) -> None:
    wrong = f"greeting==1.0 --hash=sha256:{'0' * 64}\n"
    ended = outcome(bench, made, python(pip_image), python_files(wrong))
    assert ended.state is State.FAILURE
    assert "DO NOT MATCH THE HASHES" in bench.outputs.text("build.web")


def test_a_failing_instruction_is_told_as_the_templates(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    build = {"template": "plain", "base": busybox_image, "steps": ["true", "echo no && exit 7"]}
    ended = outcome(bench, made, build, {"a": "a"})
    assert (ended.state, ended.exit_code) == (State.FAILURE, 7)
    assert ended.message == (
        "the Dockerfile of template plain line 6 (RUN echo no && exit 7) failed: exit code 7"
    )


NODE_LOCK = {
    "name": "web",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {"": {"name": "web", "version": "1.0.0"}},
}
NODE = {
    "package.json": '{"name": "web", "version": "1.0.0", "scripts": {"build": "node build.js"}}',
    "package-lock.json": json.dumps(NODE_LOCK),
    "build.js": "require('fs').writeFileSync('made.js', 'module.exports = \"hello\"')\n",
    "server.js": "const hello = require('./made.js')\n"
    "require('http').createServer((q, r) => r.end(hello + process.getuid())).listen(3000)\n",
}


def node(base: str) -> dict[str, object]:
    return {
        "template": "node",
        "base": base,
        "steps": ["npm run build"],
        "run": {"command": ["node", "server.js"], "port": "3000", "healthcheck": "GET /"},
    }


def test_a_node_program_is_built_with_npm_and_serves(
    bench: Bench, docker_client: docker.DockerClient, node_image: str, made: Made
) -> None:
    name = image(bench, made, node(node_image), dict(NODE))
    with container(docker_client, name) as running:
        healthy(docker_client, running, name)
        got = says(running, "wget", "-q", "-O", "-", "http://127.0.0.1:3000/")
        assert got == "hello10001"
    assert "NODE_ENV=production" in inspected(docker_client, name)["Config"]["Env"]


def test_a_lock_file_that_is_none_fails_the_build_of_node(
    bench: Bench, node_image: str, made: Made
) -> None:
    ended = outcome(bench, made, node(node_image), {**NODE, "package-lock.json": "none"})
    assert ended.state is State.FAILURE
    assert "can only install with an existing package-lock.json" in bench.outputs.text("build.web")


GO = {
    "go.mod": "module example.com/web\n\ngo 1.19\n\nrequire example.com/greet v1.0.0\n",
    "go.sum": "",
    "vendor/modules.txt": "# example.com/greet v1.0.0\n## explicit; go 1.19\nexample.com/greet\n",
    "vendor/example.com/greet/greet.go": 'package greet\n\nconst Hello = "hello"\n',
    "cmd/web/main.go": 'package main\n\nimport (\n\t"example.com/greet"\n\t"os"\n)\n\n'
    "func main() {\n\tif os.Getuid() == 0 {\n\t\tos.Exit(1)\n\t}\n"
    '\tos.Stdout.WriteString(greet.Hello + "\\n")\n}\n',
}


def test_a_go_program_stands_alone_in_an_image_of_nothing_else(
    bench: Bench, docker_client: docker.DockerClient, go_image: str, made: Made
) -> None:
    build = {"template": "go", "base": go_image, "runtime": "scratch", "main": "cmd/web"}
    name = image(bench, made, build, dict(GO))
    assert printed(docker_client, name) == "hello\n"
    assert inspected(docker_client, name)["Size"] < 4_000_000


def test_a_static_site_is_served(
    bench: Bench, docker_client: docker.DockerClient, busybox_image: str, made: Made
) -> None:
    build = {
        "template": "static",
        "base": busybox_image,
        "run": {"port": "8000", "healthcheck": "GET /index.html"},
    }
    name = image(bench, made, build, {"public/index.html": "<p>hello", "secret.txt": "no"})
    with container(docker_client, name) as running:
        healthy(docker_client, running, name)
        got = says(running, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/")
        assert got == "<p>hello"
        assert says(running, "id", "-u") == "10001\n"


STRANGE = {
    "A": 'say "hi" for $5 \\ day',
    "B": "${HOME} $(id) `id`",
    "C": "'\\",
    "D": "<<EOF #",
    "E": "",
    "F": "ünï → ok",
}


def strange(base: str) -> dict[str, object]:
    return {
        "template": "plain",
        "base": base,
        "files": ["bin", "etc/a.txt"],
        "env": STRANGE,
        "labels": {"org.example.a": STRANGE["A"], "org.example.b": STRANGE["B"]},
        "steps": ['echo "one\ntwo" > /made', "cat <<X >> /made\nthree \\\n four\nX"],
        "run": {"command": "ls -A . etc; cat /made; id -u", "workdir": "/srv/web"},
    }


STRANGE_FILES = {
    ".dockerignore": "bin/left-out\n",
    ".lading.dockerfile": "FROM scratch\n",
    "bin/serve": "",
    "bin/left-out": "",
    "etc/a.txt": "",
    "etc/b.txt": "",
    "Dockerfile": "FROM nothing-of-that-name\n",
}


def test_a_plain_image_holds_just_what_was_said_however_strange(
    bench: Bench, docker_client: docker.DockerClient, busybox_image: str, made: Made
) -> None:
    holds_it(docker_client, image(bench, made, strange(busybox_image), dict(STRANGE_FILES)))


def test_buildkit_reads_strange_values_as_the_classic_builder_does(
    docker_client: docker.DockerClient, busybox_image: str, made: Made
) -> None:
    source = made(dict(STRANGE_FILES))
    holds_it(docker_client, by_buildkit(docker_client, strange(busybox_image), source))


def holds_it(docker_client: docker.DockerClient, name: str) -> None:
    config = inspected(docker_client, name)["Config"]
    env = dict(each.split("=", 1) for each in config["Env"])
    assert {key: env[key] for key in STRANGE} == STRANGE
    assert config["Labels"]["org.example.a"] == STRANGE["A"]
    assert config["Labels"]["org.example.b"] == STRANGE["B"]
    assert printed(docker_client, name) == (
        ".:\nbin\netc\n\netc:\na.txt\none\ntwo\nthree  four\n10001\n"
    )


@pytest.mark.parametrize("name", [".lading.dockerfile", ".dockerignore", "Dockerfile"])
def test_the_repositorys_own_files_are_copied_as_they_are(
    bench: Bench, docker_client: docker.DockerClient, busybox_image: str, made: Made, name: str
) -> None:
    build = {
        "template": "plain",
        "base": busybox_image,
        "run": {"command": "ls -A; cat Dockerfile"},
    }
    shown = printed(docker_client, image(bench, made, build, {"Dockerfile": "own", name: "own"}))
    left = {"Dockerfile", name} - {".dockerignore"}
    assert shown == "".join(f"{each}\n" for each in sorted(left)) + "own"


def test_a_second_build_comes_from_the_cache(bench: Bench, busybox_image: str, made: Made) -> None:
    build = {"template": "plain", "base": busybox_image, "steps": ["true"]}
    first, second = (outcome(bench, made, build, {"a": "a"}).built for _ in range(2))
    assert first is not None
    assert second is not None
    assert second.cached_steps == second.total_steps - 1
