"""What reaches a registry is the commit's image to the bit, and real engines take it."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest

from pipelines.engine.interruption import Interruption, Watchdog
from pipelines.images.exact.making import NotExactError
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.verifying import Verdict, verify
from pipelines.images.session import ImageSession
from pipelines.locks import Exact, Level
from pipelines.plan import BuildWork
from pipelines.progress import Outcome, State
from pipelines.registries.client import RegistryClient
from pipelines.registries.names import Repository
from pipelines.source import GitSource
from pipelines.testing import MemoryOutput, build_step, plan_of, push_step
from scripts.parts import base_image
from scripts.parts.engine import private_engine
from scripts.parts.registry import Registry
from tests.integration.engine.bench import Bench, commit, engine_at, later, run
from tests.integration.engine.test_images import inspect, login
from tests.parts.proxy import proxy
from tests.parts.small_disk import small_disk
from tests.unit.exact.tar_files import Thing, layer

Made = Callable[[dict[str, str | bytes]], GitSource]
Files = dict[str, str | bytes]
LABELS = {"org.opencontainers.image.revision": "abc"}
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def sample(base: str, *, made: str = "echo made") -> Files:
    """A commit whose image has a bit of everything that gets in the way."""
    packed = layer(
        Thing("cap", attributes={"security.capability": CAPABILITY}, mode=0o755),
        Thing("one", data=b"1"),
        Thing("zero", tarfile.LNKTYPE, link="one"),
    )
    packed.seek(0)
    return {
        "Dockerfile": f"""\
FROM {base}
ADD things.tar /things/
RUN {made} > /made && mkdir -p /d/e && ln /made /d/e/b && ln -s /made /d/a
RUN mknod /null c 1 3 && mkfifo /pipe && mkdir /d/{"x" * 150} && touch "/d/{"l" * 120} é"
RUN rm /etc/group && rm -r /d/e && mkdir /d/e
COPY app /app
RUN chown 1000:1000 /app/main && chmod 4755 /app/run
ENV A=b
WORKDIR /work
CMD ["sh", "-c", "cat /app/main && ls -A /d/e && test -c /null && test ! -e /etc/group"]
""",
        "things.tar": packed.read(),
        "app/main": "the program\n",
        "app/run*": "#!/bin/sh\n",
    }


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's builder uses no cache."""
    build = docker.APIClient.build

    def fresh(self: docker.APIClient, **options: object) -> object:
        return build(self, **{**options, "nocache": True})  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(docker.APIClient, "build", fresh)


def exact(outcome: Outcome) -> Exact:
    assert outcome.state is State.SUCCESS, outcome.message
    assert outcome.built is not None
    assert outcome.built.exact is not None
    return outcome.built.exact


def built(bench: Bench, *, shelf: Path | None = None) -> Exact:
    """The image of a build of the commit."""
    if shelf is not None:  # as if nothing was ever built here
        bench.shelf = Shelf(shelf / uuid4().hex)
    return exact(run(bench.outcomes(plan_of(build_step(), labels=LABELS)))["build.web"])


def pushed(bench: Bench, repository: str, *tags: str, work: BuildWork | None = None) -> Exact:
    """The image of a build that was pushed."""
    push = push_step(repository, *tags, needs=("build.web",))
    outcomes = run(bench.outcomes(plan_of(build_step(work=work), push, labels=LABELS)))
    there = outcomes["push.web"].pushed
    assert there is not None, outcomes["push.web"].message
    image = exact(outcomes["build.web"])
    assert (there.digest, there.size, there.lock) == (image.digest, image.size, image.lock)
    return image


@contextlib.contextmanager
def client(bench: Bench, repository: str) -> Iterator[RegistryClient]:
    name = Repository.parse(repository)
    own = RegistryClient(name, login=bench.logins[name.host], insecure=True)
    with contextlib.closing(own):
        yield own


def manifest(bench: Bench, repository: str, tag: str) -> dict[str, Any]:
    with client(bench, repository) as own:
        found = own.manifest(tag)
    assert found is not None
    told: dict[str, Any] = json.loads(found[0])
    return told


@pytest.fixture
def repository(bench: Bench, registry: Registry) -> str:
    login(bench, registry)
    return f"{registry.address}/acme/{uuid4().hex[:8]}"


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize("base", ["busybox_image", "python_image"])
def test_two_builds_of_a_commit_without_cache_are_the_same_to_the_bit(
    bench: Bench, made: Made, folder: Path, request: pytest.FixtureRequest, base: str
) -> None:
    bench.source = made(sample(request.getfixturevalue(base)))
    first, second = (built(bench, shelf=folder) for _ in range(2))
    assert first.image != second.image
    assert first.digest == second.digest


def test_another_engine_builds_the_same_and_runs_what_the_first_has_pushed(
    bench: Bench, made: Made, busybox_image: str, repository: str, tmp_path: Path
) -> None:
    bench.source = made(sample(busybox_image))
    first = pushed(bench, repository, "1")
    with private_engine(tmp_path / "engine") as other:
        base_image.busybox(other.url)
        with contextlib.closing(docker.DockerClient(base_url=other.url, timeout=60)) as second:
            config = bench.logins[repository.partition("/")[0]].auth_config
            image = second.images.pull(repository, "1", auth_config=config)
            output = second.containers.run(image, network_mode="none", remove=True)
            assert output == b"the program\n"
            container = second.containers.create(image)
            pieces, _ = container.get_archive("/things")
            with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as things:
                cap = things.getmember("things/cap")
                links = [each.linkname for each in things if each.islnk()]
            container.remove()
        with engine_at(other.url) as engine:
            elsewhere = Bench(
                engine=engine,
                server="other",
                source=bench.source,
                shelf=Shelf(tmp_path / "layers"),
            )
            again = built(elsewhere)
    assert cap.pax_headers["SCHILY.xattr.security.capability"].encode() == CAPABILITY
    assert links == ["things/one"]
    assert again.digest == first.digest
    assert again.lock.engine != first.lock.engine


def test_a_cached_build_is_the_same_as_one_without_cache(
    bench: Bench, made: Made, busybox_image: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    bench.source = made(sample(busybox_image))
    built(bench)
    cached = built(bench)
    request.getfixturevalue("uncached")
    assert built(bench, shelf=folder).digest == cached.digest


def test_layers_that_a_commit_did_not_change_stay_the_same_with_and_without_cache(
    bench: Bench,
    folder: Path,
    busybox_image: str,
    repository: str,
    request: pytest.FixtureRequest,
) -> None:
    place = folder / "repository"
    bench.source = commit(place, sample(busybox_image))
    pushed(bench, repository, "1")
    bench.source = later(place, {"app/main": "another program\n"})
    second = pushed(bench, repository, "2")

    before, after = (manifest(bench, repository, tag)["layers"] for tag in ("1", "2"))
    same = [one == other for one, other in zip(before, after, strict=True)]
    assert same == [True] * 5 + [False] * 3
    request.getfixturevalue("uncached")
    assert built(bench, shelf=folder).digest == second.digest


def test_the_digest_that_a_build_tells_is_the_one_that_the_registry_has(
    bench: Bench, made: Made, busybox_image: str, repository: str
) -> None:
    bench.source = made(sample(busybox_image))
    image = pushed(bench, repository, "1", "latest")
    with client(bench, repository) as own:
        found = [own.resolve(tag) for tag in ("1", "latest")]
    assert [each and each.digest for each in found] == [image.digest, image.digest]
    assert manifest(bench, repository, "1")["annotations"] == LABELS


def test_a_version_whose_layers_are_there_is_pushed_with_five_requests(
    bench: Bench, made: Made, busybox_image: str, registry: Registry
) -> None:
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    with proxy(registry.address) as way:
        bench.logins[way.address] = bench.logins[registry.address]
        repository = f"{way.address}/acme/{uuid4().hex[:8]}"
        pushed(bench, repository, "1")
        way.requests.clear()
        pushed(bench, repository, "2")
        assert [each.split()[0] for each in way.requests] == ["GET", "HEAD", "HEAD", "HEAD", "PUT"]


def test_layers_of_a_base_are_the_registrys_own_and_are_not_sent_again(
    bench: Bench, made: Made, busybox_image: str, registry: Registry, folder: Path
) -> None:
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    with proxy(registry.address) as way:
        bench.logins[way.address] = bench.logins[registry.address]
        base = f"{way.address}/base/{uuid4().hex[:8]}"
        run(
            bench.outcomes(
                plan_of(
                    build_step(work=BuildWork(reproducible=False)),
                    push_step(base, "1", needs=("build.web",)),
                )
            )
        )
        bench.source = made({"Dockerfile": f"FROM {base}:1\nRUN echo {uuid4()} > /own\n"})
        bench.shelf = Shelf(folder / "empty")
        way.requests.clear()
        repository = f"{way.address}/acme/{uuid4().hex[:8]}"
        image = pushed(bench, repository, "1")
        theirs = [each["digest"] for each in manifest(bench, base, "1")["layers"]]
        ours = [each["digest"] for each in manifest(bench, repository, "1")["layers"]]
        mounted = [each for each in way.requests if "mount=" in each]
        sent = [each for each in way.requests if each.startswith("PUT") and "uploads" in each]
    client: Any = bench.engine.client
    client.remove_image(f"{base}:1", noprune=True)
    assert ours[:-1] == theirs
    assert len(mounted) == len(theirs)
    assert len(sent) == 2
    assert image.lock.level is Level.PINNED
    assert image.lock.bases[0].layers_from == f"{base}:1"


def test_layers_of_a_base_in_another_registry_are_taken_there_as_they_are(
    bench: Bench, made: Made, busybox_image: str, registry: Registry, folder: Path
) -> None:
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    with proxy(registry.address) as way:
        bench.logins[way.address] = bench.logins[registry.address]
        base = f"{way.address}/base/{uuid4().hex[:8]}"
        push = push_step(base, "1", needs=("build.web",))
        plain = build_step(work=BuildWork(reproducible=False))
        run(bench.outcomes(plan_of(plain, push)))
        bench.source = made({"Dockerfile": f"FROM {base}:1\nRUN echo {uuid4()} > /own\n"})
        bench.shelf = Shelf(folder / "empty")
        repository = f"{registry.address}/acme/{uuid4().hex[:8]}"
        pushed(bench, repository, "1")
        theirs = [each["digest"] for each in manifest(bench, base, "1")["layers"]]
    engine: Any = bench.engine.client
    engine.remove_image(f"{base}:1", noprune=True)
    ours = [each["digest"] for each in manifest(bench, repository, "1")["layers"]]
    assert ours[:-1] == theirs
    assert "Copied from" in bench.outputs.text("push.web")


def test_a_base_whose_registry_is_away_is_compressed_here_and_the_record_says_so(
    bench: Bench, made: Made, busybox_image: str, registry: Registry, folder: Path
) -> None:
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    with proxy(registry.address) as way:
        bench.logins[way.address] = bench.logins[registry.address]
        base = f"{way.address}/base/{uuid4().hex[:8]}"
        push = push_step(base, "1", needs=("build.web",))
        plain = build_step(work=BuildWork(reproducible=False))
        run(bench.outcomes(plan_of(plain, push)))
        bench.source = made({"Dockerfile": f"FROM {base}:1\nRUN echo {uuid4()} > /own\n"})
        built(bench)  # has the engine pull it
        way.go_down()
        image = built(bench, shelf=folder)
    engine: Any = bench.engine.client
    engine.remove_image(f"{base}:1", noprune=True)
    assert image.lock.bases[0].layers_from is None
    assert f"The layers of {base}:1 are compressed here" in bench.outputs.text("build.web")


def test_layers_that_were_thrown_away_meanwhile_are_made_again_for_the_push(
    bench: Bench, made: Made, busybox_image: str, repository: str, folder: Path
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    image = built(bench)
    for blob in (folder / "layers" / "blobs").iterdir():
        blob.unlink()
    assert pushed(bench, repository, "1").digest == image.digest


def test_a_disk_without_room_for_layers_is_told_as_such(
    bench: Bench, made: Made, busybox_image: str, tmp_path: Path
) -> None:
    command = "head -c 3000000 /dev/urandom > /large"
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN {command} # {uuid4()}\n"})
    with small_disk(tmp_path / "small", size=2**20) as disk:
        bench.shelf = Shelf(disk.path)
        outcome = run(bench.outcomes(plan_of(build_step())))["build.web"]
    assert outcome.state is State.ERROR
    assert "no room is left for layers" in outcome.message
    assert "`reproducible: false`" in outcome.message


def test_an_image_that_need_not_be_reproducible_is_pushed_by_the_engine(
    bench: Bench, made: Made, busybox_image: str, repository: str
) -> None:
    bench.source = made(sample(busybox_image))
    plan = plan_of(
        build_step(work=BuildWork(reproducible=False)),
        push_step(repository, "1", needs=("build.web",)),
    )
    outcomes = run(bench.outcomes(plan))
    assert outcomes["build.web"].built is not None
    assert outcomes["build.web"].built.exact is None
    assert outcomes["push.web"].pushed is not None
    assert outcomes["push.web"].pushed.lock is None
    assert "docker" in manifest(bench, repository, "1")["mediaType"]


def test_the_record_tells_what_an_image_was_made_from(
    bench: Bench, made: Made, busybox_image: str
) -> None:
    bench.source = made({**sample(busybox_image), ".dockerignore": "x\n"})
    lock = built(bench).lock
    assert (lock.commit, lock.dockerfile, lock.context) == (bench.source.sha, "Dockerfile", ".")
    assert lock.base == busybox_image
    assert [each.image for each in lock.bases] == [inspect(bench, busybox_image)["Id"]]
    assert lock.level is Level.RECORDED  # a base that no registry has is not pinned
    assert lock.created == int(bench.source.committed_at().timestamp())
    assert lock.platform.startswith("linux/")


def verified(bench: Bench, image: Exact, repository: str, folder: Path) -> Verdict:
    async def work() -> Verdict:
        await bench.engine.connected()
        session = ImageSession(
            engine=bench.engine,
            logins=bench.logins,
            output=MemoryOutput(),
            interruption=Interruption(),
            watchdog=Watchdog(bench.engine, bench.patience),
        )
        return await verify(
            session,
            Shelf(folder / uuid4().hex),
            image,
            repository=repository,
            source=bench.source,
            labels=LABELS,
            memory=bench.limits.memory,
        )

    return run(work())


def test_a_version_is_verified_by_building_it_again(
    bench: Bench, made: Made, busybox_image: str, repository: str, folder: Path
) -> None:
    bench.source = made(sample(busybox_image))
    image = pushed(bench, repository, "1")
    verdict = verified(bench, image, repository, folder)
    assert verdict.same
    assert (verdict.level, verdict.digest) == (Level.SAME, image.digest)


def test_a_version_that_came_out_otherwise_is_told_file_by_file(
    bench: Bench, made: Made, busybox_image: str, repository: str, folder: Path
) -> None:
    bench.source = made(sample(busybox_image, made="cat /proc/uptime /proc/sys/kernel/random/uuid"))
    image = pushed(bench, repository, "1")
    verdict = verified(bench, image, repository, folder)
    assert not verdict.same
    assert verdict.level is Level.RECORDED
    told = {each.path: each.what.partition(" (")[0] for each in verdict.differences}
    assert told == {"d/e/b": "content", "made": "content"}


def test_a_version_whose_base_is_nowhere_cannot_be_verified(
    bench: Bench, made: Made, busybox_image: str, repository: str, folder: Path
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo 1\n"})
    image = built(bench)
    bases = [each.model_copy(update={"image": "sha256:none"}) for each in image.lock.bases]
    lost = image.model_copy(update={"lock": image.lock.model_copy(update={"bases": tuple(bases)})})
    with pytest.raises(NotExactError, match="is there no more"):
        verified(bench, lost, repository, folder)
