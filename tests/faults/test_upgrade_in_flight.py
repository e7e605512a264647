"""F37: runs that an older version began are gone on with after the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store.database import sqlite_url
from server.store.migrations import HEAD, current_revision
from tests.faults.older import FIRST, older_copy
from tests.faults.parts import CONTEXT, World, commands, world


@pytest.fixture
def place(tmp_path: Path, engine_url: str) -> Iterator[World]:
    with world(tmp_path, engine_url) as made:
        one_slot = made.server.config.read_text().replace("[worker]\n", "[worker]\nslots = 1\n")
        made.server.config.write_text(one_slot)
        made.server.start()
        yield made


def test_a_step_that_runs_and_a_run_that_waits_outlive_an_upgrade_from_the_first_version(
    place: World, busybox_image: str
) -> None:
    waits = "while [ ! -e /workspace/go ]; do sleep 0.1; done"
    ran = place.push(commands(busybox_image, "echo up", waits, "echo over"))
    place.wait_for_output(1, "test.unit", "up\n")
    waited = place.push(commands(busybox_image, "echo fine"))
    place.server.wait_for_run(2, "waiting")
    place.server.kill()
    older = place.database.with_name("older.db")
    older_copy(place.database, older)
    for name in ("lading.db-wal", "lading.db-shm"):
        place.database.with_name(name).unlink(missing_ok=True)
    older.replace(place.database)
    assert current_revision(sqlite_url(place.database)) == FIRST

    place.server.start()

    assert current_revision(sqlite_url(place.database)) == HEAD
    (container,) = place.containers(running=True)
    made = place.engine.exec_create(container, ["touch", "/workspace/go"])
    place.engine.exec_start(made["Id"])
    place.github.wait_for("acme/web", ran, CONTEXT, "success")
    place.github.wait_for("acme/web", waited, CONTEXT, "success")
    output = place.log(1, "test.unit")
    assert [output.count(word) for word in ("up\n", "over\n")] == [1, 1]
    assert len(list(place.database.parent.glob(f"lading.db.before-{HEAD}.*"))) == 1
