"""Channels moved at a real registry that wants a login."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pipelines.executor import Output
from pipelines.plan import BuiltImageRef, Channel, NoWork, PushWork, Stage, Step
from pipelines.progress import Outcome, Progress, Pushed, State, StepProgress
from pipelines.registries.client import RegistryClient
from pipelines.registries.logins import Login as RegistryLogin
from pipelines.registries.names import Repository
from pipelines.registries.tags import digest_of
from pipelines.testing import Script, ScriptedExecutor, commands_step, plan_of, push_step
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server.actions import AwayError, ConflictError, InputsError, NotFoundError
from server.registries import Login
from server.releases import Deploying, Holding, RunChannels
from server.store import channels as verbs
from server.store import images as image_verbs
from server.store.channels import MoveKind, MoveRow, MoveState, NewMove
from server.store.rows import RunRow
from tests.builders import House, event
from tests.parts.images import Image, put_image, put_index, request
from tests.parts.proxy import Proxy, proxy, refusal

T = TypeVar("T")


class Port:
    """A house with some versions of one image in a registry, and the way there."""

    def __init__(self, house: House, registry: Registry, way: Proxy) -> None:
        self.house = house
        self.registry = registry
        self.way = way
        self.image = f"{way.address}/acme/web"
        self.repository = house.repository()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def push(self, text: str, *tags: str) -> Image:
        """A run pushed an image."""
        image = put_image(self.registry, "acme/web", *(tags or (text,)), content=text)
        self.pushed(image.digest, *(tags or (text,)))
        return image

    def pushed(self, digest: str, *tags: str) -> None:
        run = self.house.run()
        pushed = Pushed(repository=self.image, digest=digest, size=1, tags=tags)
        self.house.database.run(
            image_verbs.add_image_version,
            run=run,
            attempt=1,
            step="push.web",
            pushed=pushed,
            at=self.house.clock.forward(minutes=1),
        )

    def promote(self, version: str, channel: str = "production") -> MoveRow:
        return self.do(
            self.house.releases.promote(self.image, channel, version, by="ada", why="it is good")
        )

    def rollback(self, channel: str = "production", to: str | None = None) -> MoveRow:
        return self.do(
            self.house.releases.rollback(self.image, channel, to=to, by="bob", why="it broke")
        )

    def deploy(self, version: str) -> MoveRow:
        async def work() -> MoveRow:
            releases = self.house.releases
            to = await releases.version(self.image, version)
            return await releases.move(
                image=self.image,
                channel="production",
                to=to,
                by="run 7",
                kind=MoveKind.DEPLOY,
                run=7,
            )

        return self.do(work())

    def under(self, tag: str) -> str | None:
        """What the registry itself has under a tag."""
        login = RegistryLogin(
            username=self.registry.username or "", password=self.registry.password or ""
        )
        named = Repository(host=self.registry.address, path="acme/web")
        client = RegistryClient(named, login=login, insecure=True)
        try:
            return digest_of(client, tag)
        finally:
            client.close()

    def moves(self) -> list[MoveRow]:
        return self.house.database.run(verbs.moves, image=self.image)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    house = House(tmp_path)
    folder = tmp_path / "registry"
    with (
        running_registry(folder, username="lading", password="correct horse battery") as registry,
        proxy(registry.address) as way,
    ):
        made = Port(house, registry, way)
        login = Login(
            host=way.address,
            username=registry.username or "",
            password=registry.password or "",
            probe="acme/web",
        )
        made.do(house.registries.add(login, by="ada", guarded=False))
        yield made
        house.close()


def test_a_channel_is_moved_and_who_why_from_and_to_is_written_down(port: Port) -> None:
    old, new = port.push("old"), port.push("new")

    port.promote("old")
    port.promote("new")

    assert port.under("production") == new.digest
    newest, first = port.moves()
    assert (first.from_digest, first.digest) == (None, old.digest)
    assert (newest.from_digest, newest.digest) == (old.digest, new.digest)
    assert (newest.by, newest.why, newest.kind) == ("ada", "it is good", MoveKind.PROMOTE)
    assert newest.state is MoveState.MOVED


def test_where_the_tag_really_led_is_written_down_whoever_moved_it(port: Port) -> None:
    port.push("old")
    stranger = put_image(port.registry, "acme/web", "production", content="by hand")

    assert port.promote("old").from_digest == stranger.digest


def test_the_second_move_to_a_version_is_two_round_trips(port: Port) -> None:
    image, _ = port.push("one"), port.push("two")
    port.promote("one")
    port.promote("two")
    port.way.requests.clear()

    port.promote("one")

    # All but the last are asked at the same time.
    *together, last = port.way.requests
    assert last == "PUT /v2/acme/web/manifests/production"
    assert sorted(together) == sorted(
        [
            f"GET /v2/acme/web/manifests/{image.digest}",
            "HEAD /v2/acme/web/manifests/production",
            f"HEAD /v2/acme/web/blobs/{image.config}",
            f"HEAD /v2/acme/web/blobs/{image.layers[0]}",
        ]
    )


def test_an_index_of_several_platforms_is_moved_as_it_is(port: Port) -> None:
    one, two = (put_image(port.registry, "acme/web", content=text) for text in ("1", "2"))
    index = put_index(port.registry, "acme/web", "multi", one, two)
    port.pushed(index, "multi")

    port.promote("multi")

    assert port.under("production") == index


def test_a_version_whose_blob_is_gone_is_refused_by_the_blobs_name(port: Port) -> None:
    old, new = port.push("old"), port.push("new")
    port.promote("new")
    request(port.registry, "DELETE", f"acme/web/blobs/{old.layers[0]}")

    with pytest.raises(ConflictError, match=f"layer {old.layers[0]}"):
        port.promote("old")

    assert port.under("production") == new.digest
    assert port.moves()[0].state is MoveState.FAILED
    assert old.layers[0] in str(port.moves()[0].error)


def test_a_blob_that_is_gone_from_the_registrys_own_disk_is_missed(
    port: Port, tmp_path: Path
) -> None:
    old = port.push("old")
    port.push("new")
    port.promote("old")  # its parts are known from now on
    port.promote("new")
    digits = old.layers[0].removeprefix("sha256:")
    shutil.rmtree(
        tmp_path / "registry/images/docker/registry/v2/blobs/sha256" / digits[:2] / digits
    )

    with pytest.raises(ConflictError, match=f"layer {old.layers[0]}"):
        port.rollback()


def test_a_version_whose_manifest_is_gone_is_refused_by_its_name(port: Port) -> None:
    old = port.push("old")
    request(port.registry, "DELETE", f"acme/web/manifests/{old.digest}")

    with pytest.raises(ConflictError, match=f"the manifest {old.digest} is not in"):
        port.promote(old.digest)


def test_an_index_of_which_a_platform_is_gone_is_refused(port: Port) -> None:
    one, two = (put_image(port.registry, "acme/web", content=text) for text in ("1", "2"))
    port.pushed(put_index(port.registry, "acme/web", "multi", one, two), "multi")
    request(port.registry, "DELETE", f"acme/web/manifests/{two.digest}")

    with pytest.raises(ConflictError, match=f"manifest {two.digest}"):
        port.promote("multi")


def test_a_rollback_goes_back_and_keeps_runs_away_until_they_are_let(port: Port) -> None:
    old, new = port.push("old"), port.push("new")
    port.promote("old")
    port.promote("new")

    port.rollback()

    assert port.under("production") == old.digest
    with pytest.raises(ConflictError, match="lading channel resume"):
        port.deploy("new")
    assert port.under("production") == old.digest

    port.do(port.house.releases.resume(port.image, "production", by="bob"))
    port.deploy("new")
    assert port.under("production") == new.digest


def test_a_person_may_promote_while_runs_may_not(port: Port) -> None:
    port.push("old")
    new = port.push("new")
    port.promote("old")
    port.promote("new")
    port.rollback()

    port.promote("new")

    assert port.under("production") == new.digest
    with pytest.raises(ConflictError, match="rolled back by bob"):
        port.deploy("old")


def test_a_rollback_goes_where_it_is_told(port: Port) -> None:
    first = port.push("1st")
    port.push("2nd")
    port.push("3rd")
    for version in ("1st", "2nd", "3rd"):
        port.promote(version)

    port.rollback(to="1st")

    assert port.under("production") == first.digest


def test_a_channel_that_never_led_elsewhere_cannot_be_rolled_back(port: Port) -> None:
    port.push("old")
    port.promote("old")

    with pytest.raises(ConflictError, match="--to"):
        port.rollback()
    with pytest.raises(NotFoundError, match="has no channel"):
        port.rollback("staging")


@pytest.mark.parametrize("name", ["sha-0123456789ab", "v1.2.3", "1.2.3"])
def test_a_tag_that_is_written_once_is_never_moved(port: Port, name: str) -> None:
    port.push("old")
    new = port.push("new", name)

    with pytest.raises(InputsError, match="written once"):
        port.promote("old", channel=name)

    assert port.under(name) == new.digest


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_version_is_found_however_many_came_after(
    port: Port, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr("server.releases.releases.VERSIONS", 1)
    old = port.push("old", "old_1.x")
    port.push("new", "oldA1.x", "new")

    port.promote("old_1.x" if by == "tag" else old.digest)

    assert port.under("production") == old.digest


def test_only_what_was_pushed_here_is_a_version(port: Port) -> None:
    put_image(port.registry, "acme/web", "foreign")
    port.push("old")

    with pytest.raises(NotFoundError, match="no version 'foreign'"):
        port.promote("foreign")


def test_a_registry_that_is_down_leaves_the_channel_and_a_record(port: Port) -> None:
    port.push("old")
    port.promote("old")
    port.push("new")
    port.way.go_down()

    with pytest.raises(AwayError, match="unavailable"):
        port.promote("new")

    assert port.moves()[0].state is MoveState.FAILED
    (channel,) = port.house.database.run(verbs.all_channels, image=port.image)
    assert channel.digest == port.moves()[1].digest


def test_a_registry_that_forbids_to_move_a_tag_is_told_with_its_own_word(port: Port) -> None:
    port.push("old")
    new = port.push("new", "new", "production")
    told = '{"errors": [{"code": "TAG_INVALID", "message": "the tag is immutable"}]}'
    port.way.answer("PUT .*/manifests/production", refusal(400, body=told))

    with pytest.raises(ConflictError, match="the tag is immutable"):
        port.promote("old")

    assert port.under("production") == new.digest
    assert port.moves()[0].state is MoveState.FAILED


def test_a_login_that_may_only_pull_is_told_and_moves_nothing(port: Port) -> None:
    port.push("old")
    port.way.answer("PUT .*/manifests/production", refusal(403))

    with pytest.raises(ConflictError, match="refused the login"):
        port.promote("old")

    assert port.under("production") is None


def test_a_channel_that_somebody_is_moving_is_not_moved_at_the_same_time(port: Port) -> None:
    port.push("old")
    begun(port, f"sha256:{'e' * 64}")

    with pytest.raises(ConflictError, match="is being moved since"):
        port.promote("old")


@pytest.mark.parametrize("arrived", [True, False])
def test_a_move_that_was_cut_off_is_ended_by_what_the_registry_has(
    port: Port, *, arrived: bool
) -> None:
    port.push("old", "old", *(["production"] if not arrived else []))
    new = port.push("new", "new", *(["production"] if arrived else []))
    begun(port, new.digest)
    port.house.clock.forward(seconds=timedelta(minutes=11).total_seconds())

    port.do(port.house.releases.settle())

    (move,) = port.moves()
    assert move.state is (MoveState.MOVED if arrived else MoveState.FAILED)
    channels = port.house.database.run(verbs.all_channels, image=port.image)
    assert [row.digest for row in channels] == ([new.digest] if arrived else [])


def test_a_rollback_that_was_cut_off_keeps_runs_away_then_and_afterwards(port: Port) -> None:
    new = port.push("new", "new", "production")
    begun(port, new.digest, MoveKind.ROLLBACK)
    releases = port.house.releases
    assert "production" in port.do(releases.held(port.image, ["production", "main"]))

    port.house.clock.forward(minutes=11)
    port.do(releases.settle())

    assert list(port.do(releases.held(port.image, ["production", "main"]))) == ["production"]


def begun(port: Port, digest: str, kind: MoveKind = MoveKind.PROMOTE) -> None:
    new = NewMove(image=port.image, channel="production", kind=kind, digest=digest, by="eve")
    assert port.house.database.run(verbs.begin_move, new, at=port.house.clock()) is not None


def test_a_look_changes_nothing_and_says_what_would(port: Port) -> None:
    old, new = port.push("old"), port.push("new")
    port.promote("old")
    releases = port.house.releases

    async def look() -> Any:  # noqa: ANN401
        to = await releases.version(port.image, "new")
        return await releases.look(port.image, "production", to)

    seen = port.do(look())

    assert (seen.now, seen.version.digest, seen.fault, seen.parts) == (
        old.digest,
        new.digest,
        None,
        3,
    )
    assert port.under("production") == old.digest
    assert len(port.moves()) == 1


def test_a_push_of_latest_makes_the_channel_and_moves_it_with_its_run(port: Port) -> None:
    port.push("old", "main", "latest")
    new = port.push("new", "main", "latest")

    (channel,) = port.house.database.run(verbs.all_channels, image=port.image)
    assert (channel.name, channel.digest) == ("latest", new.digest)
    newest = port.moves()[0]
    assert (newest.kind, newest.by) == (MoveKind.PUSH, f"run {newest.run}")


class Kept:
    """Keeps what is written."""

    full = False

    def __init__(self) -> None:
        self.text = b""

    def write(self, stream: int, data: bytes) -> None:  # noqa: ARG002
        self.text += data


class Pushing(ScriptedExecutor):
    """Remembers which tags it was asked to push."""

    asked: tuple[str, ...] = ()

    async def run(self, step: Step, output: Output, running: Any) -> Outcome:  # noqa: ANN401, ARG002
        assert isinstance(step.work, PushWork)
        self.asked = step.work.tags
        return Outcome(state=State.SUCCESS)


@pytest.mark.parametrize(
    ("tags", "pushed", "state"),
    [
        (("main", "latest"), ("main",), State.SUCCESS),
        (("latest",), (), State.ERROR),
        (("main",), ("main",), State.SUCCESS),
        (("main", "sha-0123456789ab"), ("main",), State.SUCCESS),
        (("main", "1.2.0", "1.2"), ("main", "1.2.0", "1.2"), State.SUCCESS),
        (("sha-0123456789ab",), (), State.ERROR),
    ],
)
def test_a_push_leaves_what_was_rolled_back_and_what_is_written_once(
    port: Port, tags: tuple[str, ...], pushed: tuple[str, ...], state: State
) -> None:
    port.push("old", "old", "latest", "sha-0123456789ab")
    port.push("new", "new", "latest")
    port.rollback("latest")
    executor, output = Pushing(), Kept()
    work = PushWork(image=BuiltImageRef(build="build.web"), repository=port.image, tags=tags)
    step = Step(stage=Stage.PUSH, name="web", timeout=60, work=work)

    outcome = port.do(
        Holding(executor, held=port.house.releases.held).run(step, output, lambda: None)
    )

    assert outcome.state is state
    assert executor.asked == pushed
    assert (b"lading channel resume" in output.text) == ("latest" in tags)


WAITING = StepProgress()
ALONE = Step(
    stage=Stage.DEPLOY,
    name="live",
    timeout=60,
    work=NoWork(),
    channel=Channel(name="production", pushes=("push.web",)),
)
AFTER = ALONE.model_copy(update={"work": commands_step("live").work})


class Deploys:
    """A run's executor that pushes as it is told, and really moves channels."""

    def __init__(self, port: Port, *, run: RunRow | None = None, **scripts: Script) -> None:
        self.run = run or port.house.run()
        named = {f"{name.replace('_', '.')}": script for name, script in scripts.items()}
        self.inner = ScriptedExecutor(scripts=named)
        channels = RunChannels(port.house.releases, self.run)
        self.executor = Deploying(self.inner, channels=channels)
        self.output = Kept()

    async def do(self, *steps: Step) -> Outcome:
        """The outcome of the last of the steps."""
        for step in steps:
            outcome = await self.executor.run(step, self.output, lambda: None)
        return outcome


def put(port: Port, image: Image) -> Script:
    """A push of an image."""
    pushed = Pushed(repository=port.image, digest=image.digest, size=1, tags=("main",))
    return Script(outcome=Outcome(state=State.SUCCESS, pushed=pushed))


def test_a_deploy_moves_its_channel_to_what_its_own_run_pushed(port: Port) -> None:
    new = put_image(port.registry, "acme/web", "main", content="new")
    deploys = Deploys(port, push_web=put(port, new))
    put_image(port.registry, "acme/web", "main", content="newer")

    outcome = port.do(deploys.do(push_step(port.image), ALONE))

    assert outcome.state is State.SUCCESS
    assert port.under("production") == new.digest
    (move,) = port.moves()
    assert (move.kind, move.run, move.by) == (MoveKind.DEPLOY, deploys.run.id, "run 1")
    assert move.why == "deploy.live of run 1"


def test_no_command_of_a_deploy_runs_whose_channel_was_rolled_back(port: Port) -> None:
    port.push("old")
    new = port.push("new")
    port.promote("old")
    port.promote("new")
    port.rollback()
    deploys = Deploys(port, push_web=put(port, new))

    outcome = port.do(deploys.do(push_step(port.image), AFTER))

    assert outcome.state is State.ERROR
    assert f"lading channel resume {port.image} production" in outcome.message
    assert deploys.inner.calls == ["run push.web"]


def test_a_deploy_whose_push_put_nothing_there_is_refused(port: Port) -> None:
    failed = Script(outcome=Outcome(state=State.ERROR, message="refused"))
    deploys = Deploys(port, push_web=failed)

    outcome = port.do(deploys.do(push_step(port.image), AFTER))

    assert outcome.state is State.ERROR
    assert "push.web pushed nothing, so production stays where it is" in outcome.message
    assert deploys.inner.calls == ["run push.web"]


def test_a_deploy_whose_version_is_gone_from_the_registry_says_so(port: Port) -> None:
    gone = Image(digest=f"sha256:{'0' * 64}", config="", layers=())
    deploys = Deploys(port, push_web=put(port, gone))

    outcome = port.do(deploys.do(push_step(port.image), ALONE))

    assert outcome.state is State.ERROR
    assert f"the manifest {gone.digest} is not in" in outcome.message
    assert port.under("production") is None


def test_a_run_that_is_not_trusted_moves_no_channel(port: Port) -> None:
    new = port.push("new")
    stranger = port.house.run(happening=event().model_copy(update={"from_fork": True}))
    deploys = Deploys(port, run=stranger, push_web=put(port, new))

    outcome = port.do(deploys.do(push_step(port.image), ALONE))

    assert outcome.state is State.ERROR
    assert port.under("production") is None


def test_commands_that_were_stopped_move_nothing_though_they_end_well(port: Port) -> None:
    new = port.push("new")
    stopped = Script(release=asyncio.Event(), stopped=Outcome(state=State.SUCCESS))
    deploys = Deploys(port, push_web=put(port, new), deploy_live=stopped)

    async def stop_it() -> Outcome:
        await deploys.do(push_step(port.image))
        begun = asyncio.Event()
        work = asyncio.ensure_future(deploys.executor.run(AFTER, deploys.output, begun.set))
        await begun.wait()
        await deploys.executor.stop("deploy.live", grace=1)
        return await work

    outcome = port.do(stop_it())

    assert outcome.state is State.CANCELLED
    assert port.under("production") is None


def test_what_an_earlier_attempt_pushed_is_moved_to(port: Port) -> None:
    new = port.push("new")
    deploys = Deploys(port)
    step = push_step(port.image)
    carried = StepProgress(
        state=State.SUCCESS, outcome=put(port, new).outcome, ended_at=port.house.clock()
    )
    earlier = Progress(plan=plan_of(step, ALONE), steps={step.key: carried, ALONE.key: WAITING})

    async def go_on() -> Outcome:
        await deploys.executor.open(earlier)
        return await deploys.do(ALONE)

    assert port.do(go_on()).state is State.SUCCESS
    assert port.under("production") == new.digest
