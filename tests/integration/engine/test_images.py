from __future__ import annotations

import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import uuid4

import pytest

from pipelines.plan import BuildWork
from pipelines.progress import Outcome, State
from pipelines.registries.logins import Login
from pipelines.registries.mending import MendingLogins
from pipelines.registries.refusals import Refusal
from pipelines.source import GitSource
from pipelines.testing import build_step, commands_step, plan_of, push_step
from scripts.parts.registry import Registry
from tests.integration.engine.bench import Bench, run

Made = Callable[[dict[str, str]], GitSource]


def built(bench: Bench, work: BuildWork | None = None) -> Outcome:
    return run(bench.outcome(build_step(work=work)))


def test_what_is_built_is_what_is_tested(bench: Bench, busybox_image: str, made: Made) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nARG W=x\nRUN echo $W > /made\n"})
    plan = plan_of(
        build_step(work=BuildWork(args={"W": "here"}, reproducible=False)),
        commands_step("unit", "cat /made Dockerfile", image="build.web", needs=("build.web",)),
        labels={"org.opencontainers.image.revision": bench.source.sha},
    )
    outcomes = run(bench.outcomes(plan))
    assert bench.outputs.text("test.unit").startswith("$ cat /made Dockerfile\nhere\nFROM ")
    image = outcomes["build.web"].built
    assert image is not None
    labels = inspect(bench, image.image_id)["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == bench.source.sha


def test_a_second_build_comes_from_the_cache(bench: Bench, busybox_image: str, made: Made) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN true\nCOPY a /\n", "a": "a"})
    first, second = built(bench).built, built(bench).built
    assert first is not None
    assert second is not None
    assert (second.image_id, second.cached_steps, second.total_steps) == (first.image_id, 2, 3)


AS_IT_IS = build_step(work=BuildWork(reproducible=False))
"""A build whose image the engine pushes, so that its labels are the engine's."""
LABELS = {"org.opencontainers.image.title": 'a "title" with $HOME and \\', "made.by": "us"}


@pytest.mark.parametrize("last", ["", 'CMD ["sh"]', 'ENTRYPOINT ["ls"]\nCMD ["-l"]'])
def test_labels_change_nothing_else_of_an_image(
    bench: Bench, busybox_image: str, made: Made, last: str
) -> None:
    text = (
        f"FROM scratch\nCOPY --from={busybox_image} /bin /bin\nENV A=b\nUSER 1000\n"
        f"WORKDIR /x\nEXPOSE 80\nLABEL own=1 made.by=them\nONBUILD RUN false\n{last}\n"
    )
    bench.source = made({"Dockerfile": text})
    plain = built(bench).built
    labelled = run(bench.outcomes(plan_of(AS_IT_IS, labels=LABELS)))["build.web"].built

    assert plain is not None
    assert labelled is not None
    before, after = (inspect(bench, one.image_id) for one in (plain, labelled))
    assert after["Config"]["Labels"] == {"own": "1", **LABELS}
    assert after["RootFS"] == before["RootFS"]
    for image in (before, after):
        for changing in ("Labels", "Image", "Hostname"):
            image["Config"].pop(changing, None)
        for empty in ("Entrypoint", "Cmd"):
            image["Config"][empty] = image["Config"][empty] or []
    assert after["Config"] == before["Config"]


def test_the_same_commit_built_again_is_the_same_labelled_image(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()}\n"})
    plan = plan_of(AS_IT_IS, labels=LABELS)
    first, second = (run(bench.outcomes(plan))["build.web"].built for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.image_id == second.image_id


def test_a_finished_attempt_keeps_no_name_but_the_caches(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()}\n"})
    image = built(bench).built
    assert image is not None
    (tag,) = inspect(bench, image.image_id)["RepoTags"]
    assert tag.startswith("lading/acme-web-")
    assert tag.endswith("/web:latest")


def test_a_failing_instruction_is_told_with_its_line(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    bench.source = made({"Dockerfile": f"# web\nFROM {busybox_image}\n\nRUN echo a && exit 7\n"})
    outcome = built(bench)
    assert (outcome.state, outcome.exit_code) == (State.FAILURE, 7)
    assert outcome.message == ("Dockerfile line 4 (RUN echo a && exit 7) failed: exit code 7")


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM scratch\nBLA x\n", "unknown instruction: BLA"),
        ("FROM scratch\nCOPY nothere /\n", "Dockerfile line 2 (COPY nothere /) failed"),
        ("", "empty"),
    ],
)
def test_a_dockerfile_that_does_not_build_is_the_users_failure(
    bench: Bench, made: Made, dockerfile: str, words: str
) -> None:
    bench.source = made({"Dockerfile": dockerfile})
    outcome = built(bench)
    assert outcome.state is State.FAILURE
    assert words in outcome.message


def test_a_missing_dockerfile_is_told_with_path_and_commit(bench: Bench) -> None:
    outcome = built(bench, BuildWork(dockerfile="web/Dockerfile"))
    assert outcome.state is State.FAILURE
    assert outcome.message == (
        f"there is no web/Dockerfile at commit {bench.source.sha[:12]}: "
        "add it, or set `dockerfile` to where it is"
    )


def test_a_missing_context_folder_is_told(bench: Bench) -> None:
    outcome = built(bench, BuildWork(context="nothere"))
    assert outcome.state is State.ERROR
    assert "nothere" in outcome.message


def test_a_link_in_the_repository_leads_nowhere_outside(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nCOPY . /x\nRUN ls /x && cat /x/a\n"})
    outcome = built(bench, BuildWork(dockerfile="../../../etc/passwd"))
    assert (outcome.state, outcome.message[:12]) == (State.FAILURE, "`dockerfile`")


def test_ignored_files_and_a_dockerfile_from_outside_are_not_copied(
    bench: Bench, busybox_image: str, made: Made
) -> None:
    bench.source = made(
        {
            "build/Dockerfile": f"FROM {busybox_image}\nCOPY . /got\nRUN ls -A /got # {uuid4()}\n",
            "app/.dockerignore": "*.log\n.dockerignore\n",
            "app/x.log": "",
            "app/main": "",
        }
    )
    outcome = built(bench, BuildWork(dockerfile="build/Dockerfile", context="app"))
    assert outcome.state is State.SUCCESS
    listed = bench.outputs.text("build.web").partition("RUN ls -A /got")[2]
    assert "main" in listed
    assert not any(word in listed for word in ("x.log", ".lading", ".dockerignore"))


def test_a_push_tells_the_digest_that_the_registry_keeps(
    bench: Bench, busybox_image: str, made: Made, registry: Registry
) -> None:
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\n"})
    repository = f"{registry.address}/acme/{uuid4().hex[:8]}"
    plan = plan_of(build_step(), push_step(repository, "1.2", "latest", needs=("build.web",)))
    outcomes = run(bench.outcomes(plan))
    image, pushed = outcomes["build.web"].built, outcomes["push.web"].pushed
    assert image is not None
    assert pushed is not None
    assert pushed.tags == ("1.2", "latest")
    for tag in pushed.tags:
        digest, size = manifest(registry, repository, tag)
        assert (pushed.digest, pushed.size) == (digest, size)
    names = inspect(bench, image.image_id)
    assert repository not in f"{names['RepoTags']} {names['RepoDigests']}"
    assert len(bench.outputs.text("push.web").splitlines()) < 15


def test_a_wrong_password_is_told_with_the_setting(
    bench: Bench, busybox_image: str, made: Made, registry: Registry
) -> None:
    bench.logins[registry.address] = Login(username="lading", password="wrong-password")
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\n"})
    plan = plan_of(build_step(), push_step(f"{registry.address}/a", "1", needs=("build.web",)))
    outcome = run(bench.outcomes(plan))["push.web"]
    assert outcome.state is State.ERROR
    assert outcome.message.startswith(
        f"registry {registry.address} refused the login of lading for the push of "
    )
    assert f'check registries."{registry.address}" in config.toml' in outcome.message
    assert "wrong-password" not in outcome.message + bench.outputs.text("push.web")


class Renewing(MendingLogins):
    """A login that has ended, and another one when it is refused."""

    def __init__(self, host: str, good: Login) -> None:
        self._host, self._good = host, good
        self._now = Login(username="lading", password="this one has ended")
        self.asked: list[tuple[str, Refusal]] = []

    def mend(self, repository: str, refusal: Refusal) -> bool:
        self.asked.append((repository, refusal))
        renewed, self._now = self._now != self._good, self._good
        return renewed

    def __getitem__(self, host: str) -> Login:
        return {self._host: self._now}[host]

    def __iter__(self) -> Iterator[str]:
        return iter([self._host])

    def __len__(self) -> int:
        return 1


def test_a_push_whose_login_has_ended_goes_on_with_another(
    bench: Bench, busybox_image: str, made: Made, registry: Registry
) -> None:
    login(bench, registry)
    logins = Renewing(registry.address, bench.logins[registry.address])
    bench.logins = cast("Any", logins)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\n"})
    repository = f"{registry.address}/acme/{uuid4().hex[:8]}"
    plan = plan_of(build_step(), push_step(repository, "1", needs=("build.web",)))

    outcome = run(bench.outcomes(plan))["push.web"]

    assert outcome.state is State.SUCCESS, outcome.message
    assert logins.asked == [(repository, Refusal.DENIED)]
    assert "tried once more" in bench.outputs.text("push.web")


def test_a_base_behind_a_login_is_pulled(
    bench: Bench, busybox_image: str, made: Made, registry: Registry
) -> None:
    login(bench, registry)
    repository = f"{registry.address}/base/{uuid4().hex[:8]}"
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    push = plan_of(build_step(), push_step(repository, "1", needs=("build.web",)))
    run(bench.outcomes(push))
    bench.source = made({"Dockerfile": f"FROM {repository}:1\nRUN cat /id\n"})
    assert built(bench).state is State.SUCCESS
    step = commands_step("a", "cat /id", image=f"{repository}:1")
    assert run(bench.outcome(step)).state is State.SUCCESS
    bench.engine.client.remove_image(f"{repository}:1", noprune=True)
    bench.logins.clear()
    refused = run(bench.outcome(step))
    assert refused.state is State.ERROR
    assert f'registries."{registry.address}" in config.toml' in refused.message


def inspect(bench: Bench, image: str) -> dict[str, Any]:
    client: Any = bench.engine.client
    found: dict[str, Any] = client.inspect_image(image)
    return found


def login(bench: Bench, registry: Registry) -> None:
    assert registry.username is not None
    assert registry.password is not None
    bench.logins[registry.address] = Login(username=registry.username, password=registry.password)


def manifest(registry: Registry, repository: str, tag: str) -> tuple[str, int]:
    """Digest and size of what the registry itself keeps under a tag."""
    path = repository.partition("/")[2]
    words = b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{registry.address}/v2/{path}/manifests/{tag}",
        headers={
            "Authorization": f"Basic {words}",
            "Accept": "application/vnd.oci.image.manifest.v1+json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Docker-Content-Digest"], len(answer.read())
