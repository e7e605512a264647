"""From a push to files that can be downloaded, and to tests that are held against the last push."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pipelines.progress import Kept, State
from server import clock
from server.store import kept
from server.store.kept import Place
from tests.integration.flow.conftest import Flow, server_parts

__all__ = ["server_parts"]

PIPELINE = """\
test:
  unit:
    image: IMAGE
    matrix: {kind: [good, bad]}
    commands:
      - mkdir -p "out-$CI_MATRIX_KIND"
      - echo "$CI_MATRIX_KIND" > "out-$CI_MATRIX_KIND/a.txt"
      - '[ "$CI_MATRIX_KIND" = good ]'
    artifacts: {paths: "out-${matrix.kind}/", expire_in: 2d}
    reports: {junit: "${matrix.kind}.xml"}
"""


def report(**tests: bool) -> str:
    cases = "".join(
        f"<testcase classname='c' name='{name}'>{'' if good else '<failure message=no/>'}"
        "</testcase>"
        for name, good in tests.items()
    )
    return f"<testsuite>{cases}</testsuite>".replace("=no/", "='no'/")


def ran(flow: Flow, files: dict[str, str]) -> int:
    sha = flow.push({".lading.yml": PIPELINE.replace("IMAGE", flow.image), **files})
    run = flow.run_of(flow.tell_github(sha))
    flow.server.ended(run)
    return run


def asked(flow: Flow, path: str) -> Any:  # noqa: ANN401 (JSON)
    answer = flow.server.api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_files_of_passed_and_failed_steps_are_kept_and_tests_are_compared(flow: Flow) -> None:
    first = ran(flow, {"good.xml": report(a=True, b=False), "bad.xml": report(x=True)})
    second = ran(flow, {"good.xml": report(a=False, b=False), "bad.xml": report(x=True)})

    assert flow.server.states(second) == {
        "test.unit (good)": State.SUCCESS,
        "test.unit (bad)": State.FAILURE,
    }
    artifacts = {one["step"]: one for one in asked(flow, f"runs/{second}/artifacts")["items"]}
    for kind in ("good", "bad"):
        (file,) = artifacts[f"test.unit ({kind})"]["items"]
        assert file["path"] == f"out-{kind}/a.txt"
        assert flow.server.api.get(file["url"]).text == f"{kind}\n"
    tests = {one["step"]: one for one in asked(flow, f"runs/{second}/tests")["items"]}
    assert [(one["name"], one["since"]) for one in tests["test.unit (good)"]["failed"]] == [
        ("a", "new"),
        ("b", "known"),
    ]
    assert tests["test.unit (good)"]["baseline"].endswith(f"/runs/{first}")
    assert tests["test.unit (bad)"]["failed"] == []
    assert "[lading] 1 artifact kept (5 B), for 2 d" in flow.server.log(second, "test.unit (good)")


def test_while_the_room_is_used_up_nothing_is_kept_and_the_run_says_so(flow: Flow) -> None:
    first = ran(flow, {})
    place, now = Place(run=first, attempt=1, step="test.huge"), clock.now()
    what = Kept(files=1, size=2**40, stored=2**40)

    def write(**more: Any) -> None:  # noqa: ANN401 (as the verb's)
        asyncio.run(flow.server.lading.database.write(kept.record_kept, place, what, **more))

    write(at=now, expires_at=now + timedelta(days=1))
    try:
        second = ran(flow, {"again": ""})
    finally:
        asyncio.run(flow.server.lading.database.write(kept.artifacts_removed, [place], at=now))

    assert asked(flow, f"runs/{second}/artifacts")["items"] == []
    said = flow.server.log(second, "test.unit (good)")
    told = "artifacts are not kept: the files are larger than 0 B together: that is what is left of"
    assert f"[lading] {told} the server's room for artifacts (`artifacts.room`, 10 GiB)" in said
    assert flow.server.states(second)["test.unit (good)"] is State.SUCCESS
