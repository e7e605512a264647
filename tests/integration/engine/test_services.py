"""Services of a step on a real engine: reached by name, waited for, told of, gone afterwards."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from pipelines.engine.interruption import Patience
from pipelines.engine.leftovers import remove_leftovers
from pipelines.executor import OWN
from pipelines.plan import Plan, Ready, Service, Step
from pipelines.progress import Progress, State
from pipelines.redaction import StepSecrets
from pipelines.testing import MemoryOutput, commands_step, plan_of
from tests.integration.engine.bench import Bench, run, until
from tests.integration.engine.test_adoption import began, second

PORT = Ready(port=5432, within=20)
ANSWERS = "echo up; exec nc -ll -p 5432 -e echo hello"
ASKS = "nc -w 5 db 5432 < /dev/null"


def service(
    image: str, script: str = ANSWERS, name: str = "db", *, ready: Ready | None = PORT
) -> Service:
    return Service(name=name, image=image, args=("sh", "-c", script), ready=ready)


def step_with(
    image: str, *services: Service, commands: tuple[str, ...] = (ASKS,), retries: int = 0
) -> Step:
    return commands_step("unit", *commands, image=image, services=services, retries=retries)


def containers(bench: Bench) -> list[dict[str, Any]]:
    filters = {"label": [f"lading.server={bench.server}", "lading.service"]}
    client = bench.engine.client
    return [
        client.inspect_container(one["Id"]) for one in client.containers(all=True, filters=filters)
    ]


def inspected(bench: Bench, image: str) -> list[dict[str, Any]]:
    """The one service's container while the step runs."""
    plan = plan_of(step_with(image, service(image), commands=("while [ ! -e go ]; do :; done",)))
    seen: list[dict[str, Any]] = []

    async def work() -> None:
        going = asyncio.create_task(bench.run(plan))
        await bench.until("test.unit", "is ready")
        await bench.until("test.unit", "$ while")
        seen.extend(await bench.engine.call(containers, bench))
        bench.cancelled.set()
        await going

    run(work())
    return seen


def test_a_step_reaches_its_services_by_their_names_once_they_are_ready(
    bench: Bench, busybox_image: str
) -> None:
    slow = service(busybox_image, f"sleep 0.5; {ANSWERS}")
    other = service(busybox_image, "exec nc -ll -p 5432 -e echo other", "other-one")
    asks = (ASKS, ASKS.replace("db", "other-one"))
    step = step_with(busybox_image, slow, other, commands=asks)
    outcome = run(bench.outcome(step))
    assert outcome.state is State.SUCCESS
    assert f"$ {asks[0]}\nhello\n$ {asks[1]}\nother\n" in bench.outputs.text("test.unit")


def test_two_steps_side_by_side_have_services_of_the_same_name_and_do_not_meet(
    bench: Bench, busybox_image: str
) -> None:
    steps = [
        commands_step(
            name,
            ASKS,
            image=busybox_image,
            services=(service(busybox_image, f"exec nc -ll -p 5432 -e echo {name}"),),
        )
        for name in ("one", "two")
    ]
    assert run(bench.run(plan_of(*steps))).state is State.SUCCESS
    for name in ("one", "two"):
        assert f"$ {ASKS}\n{name}\n" in bench.outputs.text(f"test.{name}")


def test_another_step_reaches_no_services_but_its_own(bench: Bench, busybox_image: str) -> None:
    address = "ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'"
    serving = service(busybox_image, f"echo at $({address}); {ANSWERS}")
    holder = step_with(busybox_image, serving, commands=("while [ ! -e go ]; do :; done",))
    own = service(busybox_image, "exec nc -ll -p 5432 -e echo own")

    async def work() -> None:
        place = ""

        async def find() -> None:
            nonlocal place
            (found,) = await bench.engine.call(containers, bench)
            (network,) = found["NetworkSettings"]["Networks"].values()
            place = network["IPAddress"]

        going = asyncio.create_task(bench.run(plan_of(holder)))
        await bench.until("test.unit", "$ while")
        await find()
        spy = commands_step(
            "spy", f"! nc -w 2 {place} 5432 < /dev/null", image=busybox_image, services=(own,)
        )
        executor = bench.executor(plan_of(spy))
        await executor.open()
        output = MemoryOutput()
        outcome = await executor.run(spy, output, lambda: None)
        await executor.close()
        assert outcome.state is State.SUCCESS, output.text
        assert "hello" not in output.text
        bench.cancelled.set()
        await going

    run(work())


def test_a_service_is_confined_like_a_step(bench: Bench, busybox_image: str) -> None:
    (found,) = inspected(bench, busybox_image)
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]
    assert not host["Binds"]
    assert not found["Mounts"]
    assert (host["PidsLimit"], host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (
        bench.limits.pids,
        bench.limits.memory,
        bench.limits.memory,
        int(bench.limits.cpus * 1e9),
    )
    assert not host["PortBindings"]


def test_what_a_service_wrote_stands_behind_the_steps_output_under_its_name(
    bench: Bench, busybox_image: str
) -> None:
    run(bench.outcome(step_with(busybox_image, service(busybox_image))))
    text = bench.outputs.text("test.unit")
    assert text.endswith("hello\n\n[lading] service db wrote:\ndb | up\n")


def test_a_service_that_is_not_ready_in_time_fails_the_step_with_its_last_words(
    bench: Bench, busybox_image: str
) -> None:
    deaf = service(
        busybox_image,
        "echo starting; echo waiting for a key; sleep 60",
        ready=Ready(port=5432, within=1),
    )
    outcome = run(bench.outcome(step_with(busybox_image, deaf)))
    assert (outcome.state, outcome.message) == (
        State.FAILURE,
        (
            "service db was not ready: it did not listen on port 5432 within 1 s; its last words: "
            "waiting for a key"
        ),
    )
    assert "db | starting\ndb | waiting for a key\n" in bench.outputs.text("test.unit")
    assert f"$ {ASKS}" not in bench.outputs.text("test.unit")


def test_one_that_listens_for_itself_alone_is_not_ready(bench: Bench, busybox_image: str) -> None:
    alone = service(
        busybox_image,
        "exec httpd -f -p 127.0.0.1:5432",
        ready=Ready(port=5432, within=1),
    )
    outcome = run(bench.outcome(step_with(busybox_image, alone)))
    assert outcome.state is State.FAILURE
    assert "did not listen on port 5432" in outcome.message


def test_a_service_that_ends_before_it_is_ready_fails_the_step_at_once(
    bench: Bench, busybox_image: str
) -> None:
    broken = service(busybox_image, "echo no data folder >&2; exit 3")
    outcome = run(bench.outcome(step_with(busybox_image, broken)))
    assert outcome.state is State.FAILURE
    assert outcome.message.startswith("service db was not ready: it ended")
    assert outcome.message.endswith("its last words: no data folder")


def test_a_command_tells_that_a_service_is_ready(bench: Bench, busybox_image: str) -> None:
    ready = Ready(command="test -e /tmp/ready", within=20)
    by_command = service(busybox_image, "sleep 0.5; touch /tmp/ready; sleep 60", ready=ready)
    step = step_with(busybox_image, by_command, commands=("echo begun",))
    assert run(bench.outcome(step)).state is State.SUCCESS


def test_a_command_that_never_says_yes_is_named(bench: Bench, busybox_image: str) -> None:
    never = service(busybox_image, "sleep 60", ready=Ready(command="false", within=1))
    outcome = run(bench.outcome(step_with(busybox_image, never)))
    assert "did not answer `false` within 1 s" in outcome.message


def test_a_service_that_ends_while_the_step_goes_on_is_told_of(
    bench: Bench, busybox_image: str
) -> None:
    dies = service(busybox_image, "sleep 0.3; exit 5", ready=None)
    step = step_with(busybox_image, dies, commands=("sleep 2", "exit 1"))
    outcome = run(bench.outcome(step))
    assert outcome.message == "exit code 1; service db had ended (exit code 5)"
    text = bench.outputs.text("test.unit")
    assert "\n[lading] service db has ended (exit code 5) while the step goes on\n" in text
    assert text.count("has ended") == 1


def test_a_services_secrets_are_in_its_container_alone_and_in_no_output(
    bench: Bench, busybox_image: str
) -> None:
    bench.secrets = StepSecrets(
        values={
            "test.unit/db": {"PASSWORD": "correct horse"},
            "test.unit": {"OWN": "battery staple"},
        }
    )
    tells = service(busybox_image, f"echo it is $PASSWORD and $OWN; {ANSWERS}")
    step = step_with(busybox_image, tells, commands=("echo mine is $PASSWORD",))
    run(bench.outcome(step))
    text = bench.outputs.text("test.unit")
    assert "db | it is ************* and\n" in text
    assert "mine is\n" in text


def test_an_image_that_cannot_be_had_is_an_error_that_names_it(
    bench: Bench, busybox_image: str
) -> None:
    missing = Service(name="db", image="127.0.0.1:1/none:1")
    outcome = run(bench.outcome(step_with(busybox_image, missing)))
    assert outcome.state is State.ERROR
    assert "127.0.0.1:1/none:1" in outcome.message


def test_arguments_that_cannot_be_started_are_an_error_that_names_the_service(
    bench: Bench, busybox_image: str
) -> None:
    wrong = Service(name="db", image=busybox_image, args=("/no/such/program",))
    outcome = run(bench.outcome(step_with(busybox_image, wrong)))
    assert outcome.state is State.ERROR
    assert outcome.message.startswith(f"service db ({busybox_image}) could not be started: ")


@pytest.mark.parametrize("ready", [PORT, None])
def test_a_cancel_takes_the_services_away_whether_or_not_they_were_ready(
    bench: Bench, busybox_image: str, ready: Ready | None
) -> None:
    serving = service(busybox_image, "echo up; sleep 60", ready=ready)
    plan = plan_of(step_with(busybox_image, serving, commands=("echo begun", "sleep 60")))

    async def work() -> None:
        going = asyncio.create_task(bench.run(plan))
        await until(lambda: bench.engine.is_connected)
        while not await bench.engine.call(containers, bench):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        bench.cancelled.set()
        assert (await going).state is State.CANCELLED
        assert await bench.engine.call(bench.left) == []

    run(work())


@pytest.fixture
def shell_less_image(busybox_image: str, docker_client: docker.DockerClient) -> Iterator[str]:
    """An image with one program in it, which is no shell."""
    dockerfile = f"FROM scratch\nCOPY --from={busybox_image} /bin/busybox /bin/nc\n"
    name = "lading/no-shell:test"
    docker_client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=name, rm=True)
    yield name
    docker_client.images.remove(name, force=True)


def test_a_step_past_its_time_limit_takes_its_services_along(
    bench: Bench, busybox_image: str
) -> None:
    step = step_with(busybox_image, service(busybox_image), commands=("sleep 60",))

    async def work() -> None:
        plan = plan_of(step.model_copy(update={"timeout": 3.0}))
        progress = await bench.run(plan)
        outcome = progress.steps[step.key].outcome
        assert outcome is not None
        assert (outcome.state, outcome.message[:15]) == (State.FAILURE, "timed out after")
        assert await bench.engine.call(bench.left) == []

    run(work())


def test_a_service_that_cannot_be_asked_says_what_to_do(
    bench: Bench, busybox_image: str, shell_less_image: str
) -> None:
    args = ("/bin/nc", "-ll", "-p", "5432")
    silent = Service(name="db", image=shell_less_image, args=args, ready=PORT)
    outcome = run(bench.outcome(step_with(busybox_image, silent)))
    assert (outcome.state, outcome.message) == (
        State.FAILURE,
        (
            "service db could not be asked whether it is ready: its image has no `sh`; "
            "leave `ready` out"
        ),
    )


def test_an_executor_that_is_closed_in_the_middle_leaves_no_service_and_no_network(
    bench: Bench, busybox_image: str
) -> None:
    plan = plan_of(step_with(busybox_image, service(busybox_image), commands=("sleep 60",)))

    async def work() -> None:
        executor = bench.executor(plan)
        await executor.open()
        begun = asyncio.Event()
        going = asyncio.create_task(executor.run(plan.steps[0], MemoryOutput(), begun.set))
        await begun.wait()
        going.cancel()
        await asyncio.wait({going})
        await executor.close()
        assert await bench.engine.call(bench.left) == []

    run(work())


def test_what_a_killed_server_left_of_services_is_found_and_removed(
    bench: Bench, busybox_image: str
) -> None:
    plan = plan_of(step_with(busybox_image, service(busybox_image), commands=("sleep 60",)))

    async def work() -> None:
        executor = bench.executor(plan)
        await executor.open()
        begun = asyncio.Event()
        going = asyncio.create_task(executor.run(plan.steps[0], MemoryOutput(), begun.set))
        await begun.wait()
        going.cancel()
        await asyncio.wait({going})
        await executor.release()
        await bench.engine.call(remove_leftovers, bench.engine.client, bench.server, set())
        assert await bench.engine.call(bench.left) == []

    run(work())


def test_each_try_of_a_step_has_fresh_services(bench: Bench, busybox_image: str) -> None:
    counts = service(
        busybox_image, "touch /tmp/x; exec nc -ll -p 5432 -e sh -c 'ls /tmp; touch /tmp/y'"
    )
    step = step_with(busybox_image, counts, commands=(ASKS, "exit 1"), retries=1)
    outcome = run(bench.outcome(step))
    assert outcome.tries == 2
    text = bench.outputs.text("test.unit")
    assert text.count("x\n$ exit 1\n") == 2
    assert "\ny\n" not in text


def test_a_step_that_was_left_running_goes_on_with_its_services(
    bench: Bench, busybox_image: str
) -> None:
    commands = ("echo begun; while [ ! -e go ]; do :; done", ASKS)
    step = step_with(busybox_image, service(busybox_image), commands=commands)
    plan = plan_of(step, commands_step("after", "touch go", image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        output, begun = MemoryOutput(), asyncio.Event()
        going = asyncio.create_task(first.run(step, output, begun.set))
        await begun.wait()
        await until(lambda: b"begun\n" in output.of(1))
        before = await bench.engine.call(containers, bench)
        going.cancel()
        await asyncio.wait({going})
        await first.release()

        rest = MemoryOutput()
        async with second(bench, plan, first, began(plan, step.key)) as executor:
            taken = {1: len(output.of(1))}
            adopting = asyncio.create_task(executor.adopt(step, rest, lambda: None, taken))
            await executor.run(plan.step("test.after"), MemoryOutput(), lambda: None)
            outcome = await adopting
            assert outcome is not None
            assert outcome.state is State.SUCCESS
            assert before
            assert rest.of(1).endswith(b"hello\n")
            assert b"db | up\n" in rest.of(OWN)
            await executor.discard(step.key)
            assert await bench.engine.call(containers, bench) == []

    run(work())


def test_services_of_a_step_that_had_not_begun_are_made_anew_after_a_restart(
    bench: Bench, busybox_image: str
) -> None:
    never = service(busybox_image, "sleep 60")
    plan = plan_of(step_with(busybox_image, never))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        going = asyncio.create_task(first.run(plan.steps[0], MemoryOutput(), lambda: None))
        while not await bench.engine.call(containers, bench):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        going.cancel()
        await asyncio.wait({going})
        await first.release()

        better = plan_of(step_with(busybox_image, service(busybox_image)))
        earlier = Progress.of(better)
        async with second(bench, better, first, earlier) as executor:
            output = MemoryOutput()
            assert await executor.adopt(better.steps[0], output, lambda: None, {}) is None
            outcome = await executor.run(better.steps[0], output, lambda: None)
            assert (outcome.state, "hello\n" in output.text) == (State.SUCCESS, True)

    run(work())


def test_a_pull_of_a_services_image_stops_when_the_step_does(
    bench: Bench, busybox_image: str
) -> None:
    bench.patience = Patience(every=0.1)
    step = step_with(busybox_image, Service(name="db", image="127.0.0.1:1/none:1"))
    plan = Plan(pipeline="web", steps=(step.model_copy(update={"timeout": 1.0}),), timeout=60)
    progress = run(bench.run(plan))
    assert progress.state in (State.FAILURE, State.ERROR)
