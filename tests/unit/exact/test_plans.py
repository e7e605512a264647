from __future__ import annotations

import pytest

from pipelines.locks import Base, Level, Lock
from pipelines.plan import BuildWork, Plan
from pipelines.progress import Outcome
from tests.unit.pipelines.building import planned

LOCK = Lock(
    commit="a" * 40,
    created=0,
    dockerfile="Dockerfile",
    context=".",
    recipe_digest="sha256:1",
    context_digest="sha256:2",
    platform="linux/amd64",
    builder="engine",
    engine="one",
    normaliser="1",
)


@pytest.mark.parametrize(("text", "wanted"), [("{}", True), ("{reproducible: false}", False)])
def test_a_build_is_reproducible_unless_it_says_otherwise(text: str, *, wanted: bool) -> None:
    made = planned(f"build:\n  web: {text}\n")
    work = made.step("build.web").work
    assert isinstance(work, BuildWork)
    assert work.reproducible is wanted


def test_plans_and_outcomes_of_before_are_still_read() -> None:
    step = {"stage": "build", "name": "web", "timeout": 60, "work": {"kind": "build"}}
    (read,) = Plan.model_validate({"pipeline": "web", "timeout": 60, "steps": [step]}).steps
    assert isinstance(read.work, BuildWork)
    assert read.work.reproducible
    built = {"image_id": "sha256:1", "cached_steps": 1, "total_steps": 2}
    pushed = {"repository": "r/a", "digest": "sha256:2", "size": 1, "tags": ["1"]}
    outcome = Outcome.model_validate({"state": "success", "built": built, "pushed": pushed})
    assert outcome.built is not None
    assert outcome.built.exact is None
    assert outcome.pushed is not None
    assert outcome.pushed.lock is None


def test_a_record_is_pinned_only_where_every_base_has_a_digest() -> None:
    pinned = Base(name="a", image="sha256:1", digest="sha256:2")
    local = Base(name="b", image="sha256:3")
    for bases, level in (
        ((), Level.PINNED),
        ((pinned,), Level.PINNED),
        ((pinned, local), Level.RECORDED),
    ):
        assert LOCK.model_copy(update={"bases": bases}).level is level
