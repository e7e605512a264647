"""The server ends between a step's commands and its files: they are kept all the same."""

from __future__ import annotations

import pytest

from pipelines.progress import State
from server.artifacts import ArtifactStore
from server.store import kept, runs
from tests.faults.conftest import Stage

PIPELINE = """\
test:
  unit:
    image: {image}
    commands:
      - mkdir out
      - echo kept > out/a.txt
      - cp saved.xml report.xml
    artifacts: {{paths: out/, expire_in: 1h}}
    reports: {{junit: report.xml}}
"""
REPORT = "<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>"


@pytest.mark.parametrize("point", ["keeping.begun", "artifacts.written", "keeping.kept"])
def test_files_and_tests_of_a_step_are_kept_once_wherever_the_server_ends(
    stage: Stage, point: str
) -> None:
    text = PIPELINE.format(image=stage.image)
    stage.server.start(crash_at=point)
    sha = stage.repository.pushed({".lading.yml": text, "saved.xml": REPORT})
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    (row,) = stage.server.read(kept.kept_of_run, run.id)
    assert (row.files, row.size, row.notes) == (1, 5, ())
    assert row.tests is not None
    assert (row.tests.total, row.tests.failed) == (2, 1)
    store = ArtifactStore(stage.server.data / "artifacts", limit=2**20, room=2**30)
    assert [one.path for one in store.files(run.id, 1, "test.unit")] == ["out/a.txt"]
    report = store.report(run.id, 1, "test.unit")
    assert report is not None
    assert report.failed == 1
    assert not list((stage.server.data / "artifacts").rglob("*.part"))
    (step,) = stage.server.read(runs.steps_of, run.id, 1)
    assert step.outcome is not None
    assert step.outcome.exit_code == 0
    stage.nothing_is_left()
