"""Caches of steps on a real engine: who finds what, who may keep it, and what gets nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.caching import DEFAULT
from pipelines.engine.caches import LABEL
from pipelines.engine.cleanup import find_unused, remove_unused
from pipelines.engine.leftovers import quietly
from pipelines.engine.old_caches import remove_old_caches
from pipelines.plan import Cache, Step
from pipelines.progress import Outcome, State
from pipelines.testing import commands_step
from tests.integration.engine.bench import Bench, commit, run

MAIN = Cache(key="pip", paths=(".cache",), reads=(DEFAULT,), writes=DEFAULT)
PULL = Cache(key="pip", paths=(".cache",), reads=(DEFAULT,), refusal="pull request")
BRANCH = Cache(key="pip", paths=(".cache",), reads=("branch x", DEFAULT), writes="branch x")
FILL = "mkdir .cache && echo old > .cache/a"
SHOW = "cat .cache/a || echo none"


@pytest.fixture
def caching(bench: Bench) -> Iterator[Bench]:
    """A bench whose caches are removed at the end."""
    yield bench
    for volume in volumes(bench):
        quietly(lambda name=volume["Name"]: bench.engine.client.remove_volume(name))  # type: ignore[misc]


def volumes(bench: Bench) -> list[dict[str, Any]]:
    filters = {"label": [f"lading.server={bench.server}", LABEL]}
    return bench.engine.client.volumes(filters=filters)["Volumes"] or []


def once(bench: Bench, image: str, cache: Cache, *commands: str) -> tuple[Outcome, str]:
    """A run of its own of one step."""
    step: Step = commands_step("unit", *commands, image=image, cache=cache)
    outcome = run(bench.outcome(step))
    return outcome, bench.outputs.text("test.unit")


def test_what_a_run_keeps_a_later_one_finds(caching: Bench, busybox_image: str) -> None:
    first, said = once(caching, busybox_image, MAIN, SHOW, FILL, "chmod 700 .cache/a")
    assert first.state is State.SUCCESS
    assert "[lading] cache pip: nothing there yet\n" in said
    assert "[lading] cache pip: kept " in said
    second, said = once(caching, busybox_image, MAIN, "ls -l .cache", SHOW)
    assert second.state is State.SUCCESS
    assert "[lading] cache pip: restored " in said
    assert "-rwx------" in said
    assert "old\n" in said


def test_what_is_kept_last_takes_the_place_of_what_was_there(
    caching: Bench, busybox_image: str
) -> None:
    once(caching, busybox_image, MAIN, FILL)
    once(caching, busybox_image, MAIN, "echo new > .cache/a; touch .cache/b")
    _, said = once(caching, busybox_image, MAIN, "cat .cache/a; ls .cache")
    assert "new\na\nb\n" in said
    assert len(volumes(caching)) == 1


def test_a_second_try_goes_on_with_what_is_there(caching: Bench, busybox_image: str) -> None:
    once(caching, busybox_image, MAIN, FILL)
    commands = ("cat .cache/a", "echo new > .cache/a", "test -e again || { touch again; exit 1; }")
    step = commands_step("unit", *commands, image=busybox_image, cache=MAIN, retries=1)
    outcome = run(caching.outcome(step))
    said = caching.outputs.text("test.unit")
    assert (outcome.tries, said.count("cache pip: restored")) == (2, 1)
    assert "\nnew\n" in said


def test_a_failed_step_keeps_nothing(caching: Bench, busybox_image: str) -> None:
    outcome, said = once(caching, busybox_image, MAIN, FILL, "exit 1")
    assert outcome.state is State.FAILURE
    assert "kept" not in said
    assert volumes(caching) == []


def test_a_pull_request_finds_the_default_branchs_and_keeps_nothing(
    caching: Bench, busybox_image: str
) -> None:
    once(caching, busybox_image, MAIN, FILL)
    _, said = once(caching, busybox_image, PULL, SHOW, "echo poison > .cache/a")
    assert "old\n" in said
    assert "[lading] cache pip: not written: pull request\n" in said
    _, said = once(caching, busybox_image, MAIN, SHOW)
    assert "old\n" in said
    assert "poison" not in said


def test_a_pull_request_alone_makes_no_cache(caching: Bench, busybox_image: str) -> None:
    once(caching, busybox_image, PULL, FILL)
    assert volumes(caching) == []


def test_another_branch_begins_with_the_default_branchs_and_has_its_own_then(
    caching: Bench, busybox_image: str
) -> None:
    once(caching, busybox_image, MAIN, FILL)
    _, said = once(caching, busybox_image, BRANCH, SHOW, "echo branch > .cache/a")
    assert "of the default branch\n" in said
    assert "old\n" in said
    _, said = once(caching, busybox_image, BRANCH, SHOW)
    assert "branch\n" in said
    _, said = once(caching, busybox_image, MAIN, SHOW)
    assert "old\n" in said


@pytest.mark.parametrize(
    "other", [{"key": "npm"}, {"paths": (".cache", "b")}, {"reads": ("branch y",)}]
)
def test_another_key_other_paths_and_another_scope_are_another_cache(
    caching: Bench, busybox_image: str, other: dict[str, Any]
) -> None:
    once(caching, busybox_image, MAIN, FILL)
    _, said = once(caching, busybox_image, PULL.model_copy(update=other), SHOW)
    assert "none\n" in said
    assert "nothing there yet" in said


def test_files_and_folders_below_others_come_back_where_they_were(
    caching: Bench, busybox_image: str
) -> None:
    deep = MAIN.model_copy(update={"paths": ("x/y/z", "x/one.txt", "not there")})
    once(caching, busybox_image, deep, "mkdir -p x/y/z; echo in > x/y/z/a; echo one > x/one.txt")
    _, said = once(caching, busybox_image, deep, "cat x/y/z/a x/one.txt", "touch x/y/new")
    assert "in\none\n" in said


@pytest.mark.parametrize(
    "trick",
    [
        "ln -s /etc .cache",
        "ln -s / outside",
        "ln -s .. outside",
        "mkdir real; ln -s real .cache",
    ],
)
def test_a_link_out_of_the_workspace_is_not_followed_when_it_is_kept(
    caching: Bench, busybox_image: str, trick: str
) -> None:
    path = "outside/etc" if "outside" in trick else ".cache"
    cache = MAIN.model_copy(update={"paths": (path,)})
    outcome, said = once(caching, busybox_image, cache, trick)
    assert outcome.state is State.SUCCESS
    assert "not written: one of its paths is a link, or leads out of the workspace" in said
    assert volumes(caching) == []


def test_links_inside_are_kept_as_links(caching: Bench, busybox_image: str) -> None:
    once(caching, busybox_image, MAIN, "mkdir .cache; ln -s /etc/passwd .cache/a")
    _, said = once(caching, busybox_image, MAIN, "readlink .cache/a")
    assert "/etc/passwd\n" in said


@pytest.mark.parametrize("trick", [".cache", "x"])
def test_a_link_in_the_commit_leads_no_cache_out_of_the_workspace(
    caching: Bench, busybox_image: str, folder: Path, trick: str
) -> None:
    path = ".cache" if trick == ".cache" else "x/.cache"
    cache = MAIN.model_copy(update={"paths": (path,)})
    once(caching, busybox_image, cache, f"mkdir -p {path}; echo old > {path}/a")
    place = folder / "linked"
    place.mkdir()
    (place / trick).symlink_to("/tmp")
    caching.source = commit(place, {"b.txt": "b"})
    _, said = once(caching, busybox_image, PULL.model_copy(update={"paths": (path,)}), "ls /tmp")
    assert "not restored: one of its paths is a link, or leads out of the workspace" in said


def test_what_is_larger_than_a_cache_may_be_is_not_kept(caching: Bench, busybox_image: str) -> None:
    caching.limits = caching.limits.model_copy(update={"cache": 2**20})
    once(caching, busybox_image, MAIN, FILL)
    _, said = once(caching, busybox_image, MAIN, "dd if=/dev/zero of=.cache/a bs=1M count=2")
    assert "[lading] cache pip: not written: it is larger than the 1 MiB that a cache" in said
    _, said = once(caching, busybox_image, MAIN, SHOW)
    assert "old\n" in said


def test_one_that_was_cut_off_while_it_was_kept_does_not_count(
    caching: Bench, busybox_image: str
) -> None:
    once(caching, busybox_image, MAIN, FILL)
    (whole,) = volumes(caching)
    half = whole["Name"][:-29] + f"{time.time_ns():020d}-00000000"
    caching.engine.client.create_volume(half, labels=whole["Labels"])
    _, said = once(caching, busybox_image, PULL, SHOW)
    assert "old\n" in said


def test_nothing_there_to_keep_is_told(caching: Bench, busybox_image: str) -> None:
    _, said = once(caching, busybox_image, MAIN, "true")
    assert "not written: none of its paths is there" in said
    assert volumes(caching) == []


def test_old_caches_go_and_young_ones_stay(caching: Bench, busybox_image: str) -> None:
    once(caching, busybox_image, MAIN, FILL)
    client, server = caching.engine.client, caching.server
    now = time.time()

    def unused(before: float, room: int = 2**40) -> list[str]:
        found = find_unused(client, [], before=before, room=room, server=server)
        return [str(cache) for cache in found.caches]

    assert unused(now - 3600) == []
    assert unused(now + 3600) == ["pip of Acme/Web"]
    assert unused(now - 3600, room=0) == ["pip of Acme/Web"]
    assert find_unused(client, [], before=now + 3600, room=0, server="other").caches == ()
    remove_old_caches(client, server, before=now - 3600)
    assert len(volumes(caching)) == 1
    found = find_unused(client, [], before=now + 3600, room=0, server=server)
    remove_unused(client, found.model_copy(update={"images": (), "cache": 0}), seconds=1, room=0)
    assert volumes(caching) == []
