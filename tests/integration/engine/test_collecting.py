"""Files out of a workspace that strangers' commands have prepared: threats T19 and T20."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from docker.errors import ImageNotFound

from pipelines.engine.collecting import EMPTY_IMAGE
from pipelines.plan import Keeps
from pipelines.progress import Kept, Progress, State, StepEnded, StepRunning, StepStarted
from pipelines.taking import Bounds, Taken, TooMuchError
from pipelines.testing import MemoryOutput, MemoryShelves, commands_step, plan_of
from tests.integration.engine.bench import Bench, run

BOUNDS = Bounds(size=2**20, files=1000)
REPORT = "<testsuite><testcase name=good/><testcase name=bad><failure/></testcase></testsuite>"


@pytest.fixture
def keeping(bench: Bench) -> Bench:
    bench.shelves = MemoryShelves(BOUNDS)
    return bench


def kept(bench: Bench) -> Kept:
    found = next(fact.kept for fact in bench.facts if isinstance(fact, StepEnded))
    assert found is not None
    return found


def files(bench: Bench, key: str = "test.a") -> dict[str, bytes]:
    assert bench.shelves is not None
    return bench.shelves.steps[key].files


def collected(
    bench: Bench, image: str, *commands: str, paths: tuple[str, ...] = ("out/",)
) -> dict[str, bytes]:
    """What is kept of the workspace as these commands leave it."""
    step = commands_step("a", *commands, image=image, keeps=Keeps(artifacts=paths))
    run(bench.outcome(step))
    return files(bench)


def test_files_and_folders_are_kept_as_the_commands_left_them(
    keeping: Bench, busybox_image: str
) -> None:
    found = collected(
        keeping,
        busybox_image,
        "mkdir -p out/deep empty; printf one > out/a; printf two > out/deep/b; : > out/none",
        "printf x > report.xml; printf y > other.txt",
        paths=("out/", "report.xml", "empty", "*.txt"),
    )
    assert found == {
        "out/a": b"one",
        "out/deep/b": b"two",
        "out/none": b"",
        "report.xml": b"x",
        "other.txt": b"y",
        "a.txt": b"a\n",
    }


def test_a_path_that_is_not_there_hinders_no_other(keeping: Bench, busybox_image: str) -> None:
    found = collected(
        keeping,
        busybox_image,
        "mkdir out; echo x > out/a",
        paths=("nothing/", "a.txt/b", "not/there/*.xml", "out/"),
    )
    assert kept(keeping).notes == ()
    assert found == {"out/a": b"x\n"}


def test_patterns_are_looked_for_in_the_whole_workspace(keeping: Bench, busybox_image: str) -> None:
    found = collected(
        keeping,
        busybox_image,
        "mkdir -p a/b; echo 1 > a/b/x.xml; echo 2 > y.xml; echo 3 > a/z.txt",
        paths=("**/*.xml",),
    )
    assert found == {"a/b/x.xml": b"1\n", "y.xml": b"2\n"}


def test_files_of_a_failed_step_are_kept_and_its_tests_read(
    keeping: Bench, busybox_image: str
) -> None:
    report = REPORT.replace("=good", "='good'").replace("=bad", "='bad'")
    step = commands_step(
        "a",
        "mkdir out; echo kept > out/a",
        f'printf "%s" "{report}" > report.xml',
        "exit 3",
        image=busybox_image,
        keeps=Keeps(artifacts=("out",), junit=("report.xml",)),
    )

    outcome = run(keeping.outcome(step))

    assert (outcome.state, outcome.exit_code) == (State.FAILURE, 3)
    assert files(keeping) == {"out/a": b"kept\n"}
    tests = kept(keeping).tests
    assert tests is not None
    assert (tests.total, tests.failed) == (2, 1)
    assert "[lading] 2 tests: 1 failed\n" in keeping.outputs.text("test.a")


def test_files_of_a_step_at_its_time_limit_are_kept(keeping: Bench, busybox_image: str) -> None:
    step = commands_step(
        "a",
        "mkdir out; echo kept > out/a; sleep 60",
        image=busybox_image,
        keeps=Keeps(artifacts=("out",)),
        timeout=1.0,
    )
    assert run(keeping.outcome(step)).state is State.FAILURE
    assert files(keeping) == {"out/a": b"kept\n"}


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("mkdir out; ln -s /etc/passwd out/secret", ("out/",)),
        ("mkdir out; ln -s ../../../../etc/passwd out/secret", ("out/",)),
        ("mkdir out; ln -s /etc out/folder", ("out/folder/passwd",)),
        ("ln -s /etc out", ("out/",)),
        ("ln -s /etc/passwd out", ("out",)),
        ("ln -s /proc/self/environ out", ("out",)),
        ("mkdir out; mkfifo out/pipe", ("out/",)),
    ],
    ids=[
        "file",
        "relative",
        "folder within",
        "the folder itself",
        "the file itself",
        "proc",
        "pipe",
    ],
)
def test_links_and_pipes_lead_nowhere(
    keeping: Bench, busybox_image: str, command: str, paths: tuple[str, ...]
) -> None:
    assert collected(keeping, busybox_image, command, paths=paths) == {}
    assert kept(keeping).notes


def test_a_link_on_the_way_leads_no_further_than_into_an_empty_container(
    keeping: Bench, busybox_image: str
) -> None:
    found = collected(
        keeping,
        busybox_image,
        "ln -s / root; ln -s real way; mkdir real; echo x > real/a",
        paths=("root/etc/*", "root/proc/self/*", "root/bin/sh", "way/a"),
    )
    # What the engine itself puts into every container: names without content.
    named = {path: data for path, data in found.items() if data}
    assert named == {"way/a": b"x\n"}


def test_of_two_names_of_one_file_one_is_kept(keeping: Bench, busybox_image: str) -> None:
    found = collected(keeping, busybox_image, "mkdir out; echo x > out/a; ln out/a out/b")
    assert list(found.values()) == [b"x\n"]
    assert kept(keeping).notes == ("artifacts: 1 link or special file left out",)


def test_names_that_are_a_danger_elsewhere_are_left_out(keeping: Bench, busybox_image: str) -> None:
    found = collected(
        keeping,
        busybox_image,
        "mkdir out; cd out; touch 'a\\b' 'c:d' \"$(printf 'e\\nf')\" \"$(printf 'g\\377')\" fine ä",
    )
    assert found.keys() == {"out/fine", "out/ä"}
    assert kept(keeping).notes == (
        "artifacts: 4 files left out, with names that not every system takes",
    )


def test_a_file_of_ten_gigabytes_of_nothing_stops_it_at_once(
    keeping: Bench, busybox_image: str
) -> None:
    began = time.monotonic()
    found = collected(keeping, busybox_image, "mkdir out; truncate -s 10G out/huge")

    assert found == {}
    (note,) = kept(keeping).notes
    assert "larger than 1 MiB together" in note
    assert time.monotonic() - began < 30


def test_many_small_files_stop_at_the_limit(keeping: Bench, busybox_image: str) -> None:
    found = collected(
        keeping,
        busybox_image,
        "mkdir out; i=0; while [ $i -lt 1200 ]; do : > out/$i; i=$((i+1)); done",
    )
    assert found == {}
    assert "more than 1,000 files" in kept(keeping).notes[0]


def test_nothing_is_read_through_a_container_that_has_run_or_of_an_image_of_strangers(
    keeping: Bench, busybox_image: str
) -> None:
    since = int(time.time())
    collected(keeping, busybox_image, "mkdir out; echo x > out/a")

    events = _events(keeping, since)
    read = {one["id"] for one in events if one["status"].startswith("archive-path")}
    started = {one["id"] for one in events if one["status"] == "start"}
    images = {one["from"] for one in events if one["id"] in read}
    assert read
    assert started
    assert not read & started
    assert images == {":".join(EMPTY_IMAGE)}


def _events(bench: Bench, since: int) -> Iterator[Any]:
    client = bench.engine.client
    filters = {"label": f"lading.server={bench.server}"}
    until = int(time.time()) + 1
    return list(client.events(since=since, until=until, filters=filters, decode=True))  # type: ignore[return-value]


def test_the_empty_image_is_made_again_where_somebody_removed_it(
    keeping: Bench, busybox_image: str
) -> None:
    async def without() -> None:
        await keeping.engine.connected()
        with contextlib.suppress(ImageNotFound):
            await keeping.engine.call(
                keeping.engine.client.remove_image, ":".join(EMPTY_IMAGE), force=True
            )

    run(without())
    assert collected(keeping, busybox_image, "mkdir out; echo x > out/a") == {"out/a": b"x\n"}


def test_what_the_files_shall_be_kept_of_is_read_while_other_steps_run(
    keeping: Bench, busybox_image: str
) -> None:
    keeps = Keeps(artifacts=("out/",))
    plan = plan_of(
        commands_step("a", "mkdir out; echo x > out/a", image=busybox_image, keeps=keeps),
        commands_step("b", "while [ ! -e done ]; do :; done", image=busybox_image, keeps=keeps),
        commands_step("c", "touch done", image=busybox_image, needs=("test.a",)),
    )
    assert run(keeping.run(plan)).state is State.SUCCESS
    assert files(keeping) == files(keeping, "test.b") == {"out/a": b"x\n"}


def test_a_taker_that_fails_is_told_and_leaves_nothing_on_the_engine(
    bench: Bench, busybox_image: str
) -> None:
    def full(_file: Taken, pieces: Iterator[bytes]) -> None:
        next(pieces)
        raise OSError("no space left")

    step = commands_step("a", "mkdir out; echo x > out/a", image=busybox_image)
    plan = plan_of(step)

    async def work() -> None:
        executor = bench.executor(plan)
        await executor.open()
        try:
            await executor.run(step, MemoryOutput(), lambda: None)
            with pytest.raises(OSError, match="no space left"):
                await executor.collect(step, ["out"], BOUNDS, full)
            small = BOUNDS.model_copy(update={"size": 1})
            with pytest.raises(TooMuchError):
                await executor.collect(step, ["out"], small, full)
            names = [name for name in bench.left() if "files" in name]
            assert names == []
        finally:
            await executor.close()

    run(work())


def test_who_gives_up_leaves_nothing_on_the_engine(bench: Bench, busybox_image: str) -> None:
    step = commands_step("a", "mkdir out; truncate -s 3G out/a", image=busybox_image)
    plan = plan_of(step)
    bounds = Bounds(size=2**40, files=10)

    async def work() -> None:
        executor = bench.executor(plan)
        reading, loop = asyncio.Event(), asyncio.get_running_loop()

        def take(_file: Taken, pieces: Iterator[bytes]) -> None:
            for _ in pieces:
                loop.call_soon_threadsafe(reading.set)

        await executor.open()
        try:
            await executor.run(step, MemoryOutput(), lambda: None)
            collecting = asyncio.create_task(executor.collect(step, ["out"], bounds, take))
            await reading.wait()
            collecting.cancel()
            await asyncio.wait({collecting})
            assert collecting.cancelled()
            assert [name for name in bench.left() if "files" in name] == []
        finally:
            await executor.close()

    run(work())


def test_a_second_executor_still_has_the_files_of_a_step_that_ended_meanwhile(
    keeping: Bench, busybox_image: str
) -> None:
    step = commands_step(
        "a", "mkdir out; echo x > out/a", image=busybox_image, keeps=Keeps(artifacts=("out/",))
    )
    plan = plan_of(step)
    at = datetime.now(UTC)

    async def work() -> Progress:
        first = keeping.executor(plan)
        await first.open()
        await first.run(step, MemoryOutput(), lambda: None)
        await first.release()
        earlier = Progress.of(plan)
        for fact in (StepStarted(step=step.key, at=at), StepRunning(step=step.key, at=at)):
            earlier = earlier.apply(fact)
        return await keeping.run(plan, attempt=first.attempt, earlier=earlier)

    assert run(work()).state is State.SUCCESS
    assert files(keeping) == {"out/a": b"x\n"}
