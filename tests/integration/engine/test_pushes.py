"""Registries that fail, and pushes that nobody saw the end of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from pipelines.engine.containers import attempt_tag
from pipelines.plan import BuildWork, Plan
from pipelines.progress import Outcome, State
from pipelines.registries.client import RegistryClient
from pipelines.registries.manifests import Manifest
from pipelines.registries.names import Repository
from pipelines.source import GitSource
from pipelines.testing import MemoryOutput, build_step, commands_step, plan_of, push_step
from scripts.parts.registry import Registry
from tests.integration.engine.bench import Bench, run, until
from tests.integration.engine.test_adoption import began, second
from tests.integration.engine.test_images import login
from tests.parts.proxy import Proxy, proxy, refusal

Made = Callable[[dict[str, str]], GitSource]


@dataclass(kw_only=True)
class Shop:
    """A repository of a registry behind a proxy, and something to push there."""

    bench: Bench
    way: Proxy
    repository: str
    reproducible: bool
    """Whether we push it, or the engine."""
    told: MemoryOutput = field(default_factory=MemoryOutput)
    """What a push that was taken up wrote."""

    def plan(self, *tags: str, timeout: float = 60, retry_safe: bool = False) -> Plan:
        push = push_step(
            self.repository, *tags, needs=("build.web",), timeout=timeout, retry_safe=retry_safe
        )
        return plan_of(build_step(work=BuildWork(reproducible=self.reproducible)), push)

    def has(self, tag: str) -> Manifest | None:
        """What the registry has under a tag."""
        repository = Repository.parse(self.repository)
        login = self.bench.logins[self.way.address]
        client = RegistryClient(repository, login=login, insecure=True)
        try:
            return client.resolve(tag)
        finally:
            client.close()

    async def cut_off(self, plan: Plan, *, down: bool = False) -> Outcome | None:
        """What becomes of a push that was cut off where the proxy stops it, and is taken up."""
        first = self.bench.executor(plan)
        await first.open()
        built = await first.run(plan.step("build.web"), MemoryOutput(), lambda: None)
        going = asyncio.create_task(first.run(plan.step("push.web"), MemoryOutput(), lambda: None))
        await until(self.way.stopped.is_set)
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        # As a process leaves it that is killed.
        image, client = built.built.image_id if built.built else "", self.bench.engine.client
        client.tag(image, self.repository, "a", force=True)
        self.way.go_down()
        self.way.requests.clear()
        if not down:
            self.way.go_on()
        earlier = began(plan, "push.web", ended={"build.web": built})
        async with second(self.bench, plan, first, earlier) as executor:
            adopting = asyncio.create_task(
                executor.adopt(plan.step("push.web"), self.told, lambda: None, {})
            )
            if down:
                await until(lambda: self.told.text.count("trying again in") > 1)
                self.way.go_on()
            return await adopting

    @property
    def writes(self) -> list[str]:
        """Requests that would change the registry."""
        return [each for each in self.way.requests if not each.startswith(("GET", "HEAD"))]


@pytest.fixture(params=[True, False], ids=["ours", "the-engines"])
def shop(
    bench: Bench,
    busybox_image: str,
    made: Made,
    registry: Registry,
    request: pytest.FixtureRequest,
) -> Iterator[Shop]:
    """A shop of its own for each test."""
    login(bench, registry)
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo {uuid4()} > /id\n"})
    with proxy(registry.address) as way:
        bench.logins[way.address] = bench.logins[registry.address]
        yield Shop(
            bench=bench,
            way=way,
            repository=f"{way.address}/acme/{uuid4().hex[:8]}",
            reproducible=request.param,
        )


@pytest.mark.parametrize("down", [False, True])
def test_a_push_that_got_there_unseen_is_a_success_once_the_registry_tells_its_digest(
    shop: Shop, *, down: bool
) -> None:
    shop.way.stop_at("PUT .*/manifests/b$", answer=True)

    outcome = run(shop.cut_off(shop.plan("a", "b"), down=down))

    assert outcome is not None
    assert outcome.state is State.SUCCESS, outcome.message
    assert outcome.pushed is not None
    kept = shop.has("b")
    assert kept is not None
    assert kept == shop.has("a")
    assert (outcome.pushed.digest, outcome.pushed.size) == (kept.digest, kept.size)
    assert outcome.pushed.tags == ("a", "b")
    assert shop.writes == []


def test_a_push_that_got_half_way_is_unknown_and_says_what_is_there(
    shop: Shop, made: Made, busybox_image: str
) -> None:
    source, shop.bench.source = shop.bench.source, made({"Dockerfile": f"FROM {busybox_image}\n"})
    run(shop.bench.outcomes(shop.plan("c")))
    shop.bench.source = source
    shop.way.stop_at("PUT .*/manifests/b$")

    outcome = run(shop.cut_off(shop.plan("a", "b", "c")))

    assert outcome is not None
    assert outcome.state is State.ERROR
    assert outcome.message == (
        f"unknown: Lading was restarted in the middle; {shop.repository} has this image as a, "
        "another image as c, nothing as b. Re-run what failed to push again; with `retry: safe` "
        "in the pipeline Lading does so by itself"
    )
    assert shop.writes == []
    assert shop.has("b") is None


def test_a_push_that_may_be_repeated_is_told_of_and_left_to_begin_anew(shop: Shop) -> None:
    shop.way.stop_at("(PATCH|PUT) .*/blobs/uploads/")

    assert run(shop.cut_off(shop.plan("a", retry_safe=True))) is None

    assert f"{shop.repository} has nothing as a." in shop.told.text


def test_the_names_that_a_push_goes_by_are_taken_from_the_engine_after_a_restart(
    shop: Shop,
) -> None:
    shop.way.stop_at("PUT .*/manifests/a$")

    run(shop.cut_off(shop.plan("a", retry_safe=True)))

    assert shop.bench.engine.client.images(name=shop.repository) == []


def test_a_registry_that_cannot_be_asked_in_time_leaves_it_unknown(shop: Shop) -> None:
    shop.way.stop_at("PUT .*/manifests/a$")
    plan = shop.plan("a", timeout=2)

    async def work() -> Outcome:
        first = shop.bench.executor(plan)
        await first.open()
        built = await first.run(plan.step("build.web"), MemoryOutput(), lambda: None)
        going = asyncio.create_task(first.run(plan.step("push.web"), MemoryOutput(), lambda: None))
        await until(shop.way.stopped.is_set)
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        shop.way.go_down()
        earlier = began(plan, "push.web", ended={"build.web": built})
        progress = await shop.bench.run(plan, attempt=first.attempt, earlier=earlier)
        outcome = progress.steps["push.web"].outcome
        assert outcome is not None
        return outcome

    outcome = run(work())

    assert outcome.state is State.ERROR
    assert outcome.message.startswith(
        f"unknown: Lading was restarted in the middle; registry {shop.way.address} unavailable "
    )
    assert outcome.message.endswith("; given up after 2 s")


def test_a_registry_that_is_down_at_a_push_is_tried_until_the_steps_time_is_over(
    shop: Shop,
) -> None:
    shop.way.go_down()

    outcome = run(shop.bench.outcomes(shop.plan("a", timeout=2)))["push.web"]

    assert outcome.state is State.ERROR
    assert outcome.message.startswith(
        f"registry {shop.way.address} unavailable for the push of {shop.repository}:a: "
    )
    assert outcome.message.endswith("; given up after 2 s")
    lines = shop.bench.outputs.text("push.web").splitlines()
    tries = [line for line in lines if "unavailable" in line and "; trying again in " in line]
    assert len(tries) > 4


def test_a_registry_that_goes_down_in_the_middle_of_a_push_and_comes_back_has_the_image(
    shop: Shop,
) -> None:
    shop.way.stop_at("PUT .*/manifests/b$")

    async def work() -> Outcome:
        going = asyncio.create_task(shop.bench.outcomes(shop.plan("a", "b")))
        await until(shop.way.stopped.is_set)
        shop.way.go_down()
        await shop.bench.until("push.web", "trying again in")
        shop.way.go_on()
        return (await going)["push.web"]

    outcome = run(work())

    assert outcome.state is State.SUCCESS, outcome.message
    kept = shop.has("b")
    assert kept is not None
    assert outcome.pushed is not None
    assert outcome.pushed.digest == kept.digest


@pytest.mark.parametrize("down", [False, True])
def test_only_an_attempt_that_did_not_succeed_keeps_its_image(shop: Shop, *, down: bool) -> None:
    if down:
        shop.way.go_down()
    plan = shop.plan("a", timeout=0.5 if down else 60)

    async def work() -> None:
        await shop.bench.engine.connected()
        executor = shop.bench.executor(plan)
        progress = await shop.bench.run(plan, attempt=executor.attempt)
        built = progress.steps["build.web"].outcome
        assert built is not None
        assert built.built is not None
        client = shop.bench.engine.client
        found = client.inspect_image(built.built.image_id)  # type: ignore[no-untyped-call]
        names = [name.rpartition(":")[2] for name in found["RepoTags"]]
        assert (attempt_tag(executor.attempt) in names) is down
        for name in found["RepoTags"]:
            client.remove_image(name, noprune=True)

    run(work())


@pytest.fixture
def pulled(shop: Shop) -> Iterator[str]:
    """An image that only the registry has."""
    run(shop.bench.outcomes(shop.plan("base")))
    yield f"{shop.repository}:base"
    client = shop.bench.engine.client
    if client.images(name=f"{shop.repository}:base"):
        client.remove_image(f"{shop.repository}:base", noprune=True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_pull_that_is_refused_for_the_moment_is_tried_again_and_told(
    shop: Shop, pulled: str, status: int
) -> None:
    body = '{"errors": [{"code": "TOOMANYREQUESTS", "message": "too many requests"}]}'
    shop.way.answer("GET .*/manifests/", refusal(status, body=body), times=2)

    outcome = run(shop.bench.outcome(commands_step("a", "cat /id", image=pulled)))

    assert outcome.state is State.SUCCESS, outcome.message
    told = shop.bench.outputs.text("test.a")
    assert f"registry {shop.way.address} unavailable for the pull of {pulled}" in told
    assert "; trying again in " in told


def test_a_registry_that_is_down_at_a_pull_is_given_up_after_a_while(
    shop: Shop, pulled: str
) -> None:
    shop.way.go_down()

    outcome = run(shop.bench.outcome(commands_step("a", "cat /id", image=pulled)))

    assert outcome.state is State.ERROR
    assert outcome.message.startswith(f"registry {shop.way.address} unavailable for the pull of")
    assert shop.bench.outputs.text("test.a").count("; trying again in ") > 1


def test_an_image_that_is_not_there_is_told_at_once_with_its_name(shop: Shop) -> None:
    name = f"{shop.repository}:nothing"

    outcome = run(shop.bench.outcome(commands_step("a", "true", image=name)))

    assert outcome.state is State.ERROR
    assert outcome.message.startswith(f"pull of {name} failed: registry {shop.way.address} has no")
    assert "trying again" not in shop.bench.outputs.text("test.a")
