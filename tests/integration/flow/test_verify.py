"""A version that a server pushed, made once more by the command; page and API tell of it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import pytest

from pipelines.locks import Level
from pipelines.progress import State
from server.cli.errors import UsageError
from server.cli.verify import CANNOT, DIFFERS, SAME, run
from server.store.rows import ImageVersionRow
from server.ui.site import COOKIE
from tests.integration.flow.conftest import Flow

Verified = Callable[[str], tuple[int, list[str]]]


def version(flow: Flow, *, made: str = "echo made", build: str = "{}") -> ImageVersionRow:
    """What a push to a repository left in the registry."""
    sha = flow.push(
        {
            "Dockerfile": f"FROM {flow.image}\nCOPY greeting /\nRUN {made} > /made\n",
            "greeting": "hello\n",
            ".lading.yml": (
                f"build:\n  web: {build}\n"
                f"push:\n  web:\n    to: {flow.registry.address}/acme/{flow.repository.bare.stem}\n"
            ),
        }
    )
    number = flow.run_of(flow.tell_github(sha))
    ended = flow.server.ended(number)
    assert ended.state is State.SUCCESS, ended.sentence
    (found,) = flow.server.images(number)
    return found


@pytest.fixture
def verified(flow: Flow) -> Verified:
    def ask(image: str) -> tuple[int, list[str]]:
        lines: list[str] = []
        return run(flow.server.lading.settings, image, lines.append), lines

    return ask


def test_a_version_is_what_its_commit_builds_and_its_page_says_so(
    flow: Flow, verified: Verified
) -> None:
    pushed = version(flow)
    assert (pushed.level, pushed.verified_at) == (Level.RECORDED, None)

    code, lines = verified(f"{pushed.image}@{pushed.digest}")

    assert code == SAME, lines
    assert "bit for bit" in lines[0]
    (after,) = flow.server.images(pushed.run)
    assert after.level is Level.SAME
    assert after.verified_at is not None
    token = flow.server.api.headers["Authorization"].removeprefix("Bearer ")
    address = f"{flow.server.url}/runs/{pushed.run}"
    asked = urllib.request.Request(address, headers={"Cookie": f"{COOKIE}={token}"})
    with urllib.request.urlopen(asked, timeout=10) as page:
        text = page.read().decode()
    assert "built again with the same digest" in text
    assert pushed.lock is not None
    assert pushed.lock.context_digest in text


def test_a_version_that_another_build_would_not_give_is_told_with_its_files(
    flow: Flow, verified: Verified
) -> None:
    pushed = version(flow, made="cat /proc/sys/kernel/random/uuid")

    code, lines = verified(f"{pushed.image}:{pushed.tags[0]}")

    assert code == DIFFERS
    assert "  made: content" in lines
    (after,) = flow.server.images(pushed.run)
    assert after.level is Level.RECORDED


def test_without_an_engine_nothing_can_be_told(flow: Flow) -> None:
    pushed = version(flow)
    lading = flow.server.lading
    settings = lading.settings.model_copy(
        update={"engine": lading.settings.engine.model_copy(update={"url": "unix:///nowhere.sock"})}
    )
    lines: list[str] = []

    code = run(settings, f"{pushed.image}@{pushed.digest}", lines.append)

    assert code == CANNOT
    assert "does not answer" in lines[0]


def test_a_version_without_a_record_and_one_that_nobody_pushed_are_told_apart(
    flow: Flow, verified: Verified
) -> None:
    pushed = version(flow, build="{reproducible: false}")
    assert (pushed.level, pushed.lock) == (None, None)

    with pytest.raises(UsageError, match="nobody wrote down"):
        verified(f"{pushed.image}@{pushed.digest}")
    with pytest.raises(UsageError, match="no run here has pushed"):
        verified(f"{pushed.image}:nothing")


def test_the_api_tells_what_a_version_was_made_from(flow: Flow) -> None:
    pushed = version(flow)
    (told,) = flow.server.api.get("/images", params={"image": pushed.image}).json()["items"]
    assert told["level"] == "R0"
    assert told["lock"]["commit"] == pushed.sha
    assert told["lock"]["bases"][0]["name"] == flow.image
