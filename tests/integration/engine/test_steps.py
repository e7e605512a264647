from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipelines.engine.containers import Limits
from pipelines.progress import State
from pipelines.registries.logins import Login
from pipelines.testing import commands_step, plan_of
from scripts.parts.registry import Registry
from tests.integration.engine.bench import Bench, run, until


def test_steps_share_a_workspace_that_holds_the_commit(bench: Bench, busybox_image: str) -> None:
    plan = plan_of(
        commands_step(
            "one", "pwd", "cat a.txt", "./check.sh", "echo more > b", image=busybox_image
        ),
        commands_step("two", "cat b", "ls -A", image=busybox_image, needs=("test.one",)),
    )
    assert run(bench.run(plan)).state is State.SUCCESS
    assert bench.outputs.text("test.one") == (
        "$ pwd\n/workspace\n$ cat a.txt\na\n$ ./check.sh\nchecked\n$ echo more > b\n"
    )
    assert (
        bench.outputs.text("test.two") == "$ cat b\nmore\n$ ls -A\nDockerfile\na.txt\nb\ncheck.sh\n"
    )


def test_values_reach_a_step_as_they_are_and_run_nothing(bench: Bench, busybox_image: str) -> None:
    evil = 'zzz";echo${IFS}"x";# $(touch /workspace/x) `id`\n--privileged \'q\' \\'
    step = commands_step(
        "env",
        'printf "%s" "$BRANCH" > got',
        "cat got",
        "ls",
        image=busybox_image,
        env={"BRANCH": evil},
    )
    assert run(bench.outcome(step)).state is State.SUCCESS
    text = bench.outputs.text("test.env")
    assert f"$ cat got\n{evil}$ ls\n" in text
    assert text.endswith("Dockerfile\na.txt\ncheck.sh\ngot\n")


def test_both_streams_arrive_apart(bench: Bench, busybox_image: str) -> None:
    run(bench.outcome(commands_step("a", "echo out; echo err >&2", image=busybox_image)))
    output = bench.outputs.steps["test.a"]
    assert output.of(1) == b"$ echo out; echo err >&2\nout\n"
    assert output.of(2) == b"err\n"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("exit 3", 3, "exit code 3"),
        ("nosuchcommand", 127, "a command was not found"),
        ("./a.txt", 126, "may not be executed"),
        ("kill -SEGV $$", 139, "memory access fault"),
    ],
)
def test_a_failing_command_is_told_in_words(
    bench: Bench, busybox_image: str, command: str, code: int, words: str
) -> None:
    outcome = run(bench.outcome(commands_step("a", command, "echo never", image=busybox_image)))
    assert (outcome.state, outcome.exit_code) == (State.FAILURE, code)
    assert words in outcome.message
    assert "\nnever" not in bench.outputs.text("test.a")


def test_running_out_of_memory_names_the_limit(bench: Bench, busybox_image: str) -> None:
    bench.limits = Limits(memory=16 * 2**20, cpus=1.0, pids=64)
    step = commands_step("a", "x=$(head -c 100000000 /dev/zero | tr '\\0' x)", image=busybox_image)
    outcome = run(bench.outcome(step))
    assert outcome.state is State.FAILURE
    assert "killed, out of memory (limit 16 MiB)" in outcome.message


def test_a_fork_bomb_ends_at_the_process_limit(bench: Bench, busybox_image: str) -> None:
    command = "i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done"
    outcome = run(bench.outcome(commands_step("a", command, image=busybox_image)))
    assert outcome.state is State.FAILURE
    assert "can't fork" in bench.outputs.text("test.a")


def test_a_container_is_held_as_tightly_as_promised(bench: Bench, busybox_image: str) -> None:
    async def work() -> dict[str, Any]:
        plan = plan_of(commands_step("a", "echo up; sleep 30", image=busybox_image))
        going = asyncio.create_task(bench.run(plan))
        await bench.until("test.a", "\nup\n")
        (name,) = [name for name in bench.left() if name.endswith("test.a")]
        found: dict[str, Any] = bench.engine.client.inspect_container(name)
        bench.cancelled.set()
        await going
        return found

    container = run(work())
    host = container["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert set(host["CapAdd"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"]) == (bench.limits.memory, bench.limits.memory)
    assert (host["PidsLimit"], host["NanoCpus"]) == (64, 1_000_000_000)
    assert not host["Devices"]
    assert [(mount["Type"], mount["Destination"]) for mount in container["Mounts"]] == [
        ("volume", "/workspace")
    ]
    assert "docker.sock" not in str(container["Mounts"])
    assert container["Config"]["Labels"]["lading.step"] == "test.a"


@pytest.mark.parametrize("own_network", [True, False])
def test_steps_cannot_reach_each_other(
    bench: Bench, busybox_image: str, monkeypatch: pytest.MonkeyPatch, *, own_network: bool
) -> None:
    if own_network:
        monkeypatch.setattr(bench.engine, "_bridge_keeps_apart", lambda: False)
    plan = plan_of(
        commands_step("server", "hostname -i > ip", "nc -l -p 8080 < a.txt", image=busybox_image),
        commands_step(
            "client",
            "until [ -s ip ]; do usleep 50000; done",
            "usleep 200000",
            "! nc -w 1 $(cat ip) 8080 < /dev/null",
            image=busybox_image,
        ),
    )

    async def work() -> State:
        going = asyncio.create_task(bench.run(plan))
        await until(lambda: any(f.kind == "ended" and f.step == "test.client" for f in bench.facts))
        bench.cancelled.set()
        return (await going).steps["test.client"].state

    assert run(work()) is State.SUCCESS


def test_an_image_that_exists_nowhere_is_told_at_once(bench: Bench, registry: Registry) -> None:
    assert registry.username
    assert registry.password
    bench.logins[registry.address] = Login(username=registry.username, password=registry.password)
    name = f"{registry.address}/no/such:1"
    outcome = run(bench.outcome(commands_step("a", image=name)))
    assert outcome.state is State.ERROR
    assert name in outcome.message
    assert "has no such image; check its name" in outcome.message


def test_a_registry_out_of_reach_is_tried_again_and_then_told(bench: Bench) -> None:
    outcome = run(bench.outcome(commands_step("a", image="127.0.0.1:9/x:1")))
    assert outcome.state is State.ERROR
    assert outcome.message.startswith("registry 127.0.0.1:9 unavailable for the pull of")
    assert bench.outputs.text("test.a").count("trying again in") > 1


def test_steps_in_a_row_share_a_network_and_leave_nothing(bench: Bench, busybox_image: str) -> None:
    names = [f"s{number}" for number in range(5)]
    steps = [
        commands_step(
            name,
            "hostname -i",
            "sleep 0.3",
            image=busybox_image,
            needs=(f"test.{names[number - 1]}",) if number else (),
        )
        for number, name in enumerate(names)
    ]
    assert run(bench.run(plan_of(*steps))).state is State.SUCCESS
    addresses = [bench.outputs.text(f"test.{name}").splitlines()[1] for name in names]
    assert addresses[3] == addresses[4]
    assert addresses[0] != addresses[4]


def test_steps_go_on_though_the_shared_network_is_lost(bench: Bench, busybox_image: str) -> None:
    async def work() -> State:
        steps = [
            commands_step(
                f"s{number}",
                "echo up; sleep 0.5",
                image=busybox_image,
                needs=(f"test.s{number - 1}",) if number else (),
            )
            for number in range(5)
        ]
        going = asyncio.create_task(bench.run(plan_of(*steps)))
        await bench.until("test.s2", "\nup\n")
        (holder,) = [name for name in bench.left() if name.endswith("-network")]
        bench.engine.client.remove_container(holder, force=True)
        return (await going).state

    assert run(work()) is State.SUCCESS
