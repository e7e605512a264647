"""Real pushes through the installed hook."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pipelines.events import Event, EventKind
from server.config import GitSettings
from server.hosts.git import GitHost, HookInstallError, install
from server.hosts.port import Irrelevant, SignatureInvalidError
from tests.parts.git_server import Repository, git, http_server

SECRET = "whsec_" + "QUJD" * 11
RUN = {"pipeline": "web", "url": "http://lading.test/runs/12"}


class Receiver:
    """Stands where Lading will: verifies every request with the host's own code."""

    def __init__(self) -> None:
        settings = GitSettings.model_validate(
            {"kind": "git", "url": "/srv/git", "webhook_secret": SECRET}
        )
        self.host = GitHost("ours", settings)
        self.url = ""
        self.statuses: list[int] = []
        """What to answer the next deliveries with; then 202."""
        self.states: list[dict[str, Any]] = []
        """What to answer the next questions with; then decided, with one run."""
        self.bodies: dict[str, bytes] = {}
        self.events: list[Event | Irrelevant] = []
        self.times = 0

    def post(self, headers: dict[str, str], body: bytes) -> tuple[int, object]:
        """One delivery."""
        self.times += 1
        status = self.statuses.pop(0) if self.statuses else 202
        try:
            verified = self.host.verify(headers, body, datetime.now(UTC))
        except SignatureInvalidError as error:
            return 401, {"error": error.reason}
        if status != 202:
            return status, {}
        assert verified.delivery_id is not None
        known = verified.delivery_id in self.bodies
        if not known:
            payload = self.host.payload(headers, body)
            self.bodies[verified.delivery_id] = body
            self.events.append(self.host.read(headers, payload))
        delivery = f"d-{verified.delivery_id}"
        url = f"http://lading.test/deliveries/{delivery}"
        return 202, {"delivery": delivery, "duplicate": known, "url": url}

    def get(self, headers: dict[str, str], path: str) -> tuple[int, object]:
        """One question about a delivery."""
        delivery = path.rpartition("/")[2]
        verified = self.host.verify(headers, b"", datetime.now(UTC))
        if verified.delivery_id != delivery:
            return 401, {}
        return 200, self.states.pop(0) if self.states else {"state": "decided", "runs": [RUN]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/base/webhooks/ours"
            body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(*made.post(self.lowered(), body))

        def do_GET(self) -> None:
            assert self.path.startswith("/base/webhooks/ours/d-msg_")
            self.answer(*made.get(self.lowered(), self.path))

        def lowered(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def answer(self, status: int, body: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with http_server(Handler) as address:
        made.url = f"{address}/base/"
        yield made


def installed(repository: Repository, url: str, secret: str = SECRET) -> Path:
    return install(
        repository.bare, server_url=url, host_name="ours", secret=secret, name="acme/web"
    )


def spooled(repository: Repository) -> list[Path]:
    return sorted((repository.bare / "lading-spool").glob("*"))


def resend(repository: Repository) -> str:
    hook = repository.bare / "hooks" / "post-receive"
    return subprocess.check_output([sys.executable, hook, "--resend"], text=True)


def test_a_push_is_told_and_the_person_who_pushes_sees_the_run(
    repository: Repository, receiver: Receiver
) -> None:
    before = repository.pushed({"a": "1"})
    installed(repository, receiver.url)
    receiver.states = [{"state": "received"}, {"state": "received"}]
    sha = repository.commit({"a": "2"}, "Ship it\n\nAll of it: 'quotes', $(id) and é.")

    seen = repository.push()

    assert "remote: Lading: run 12 of web started: http://lading.test/runs/12" in seen
    [event] = receiver.events
    assert isinstance(event, Event)
    assert event == Event(
        kind=EventKind.PUSH,
        repository="acme/web",
        sha=sha,
        ref="refs/heads/main",
        before=before,
        branch="main",
        default_branch="main",
        title="Ship it",
        message="Ship it\n\nAll of it: 'quotes', $(id) and é.",
        author="Ada Lovelace",
        actor=event.actor,
    )
    assert event.actor
    assert spooled(repository) == []


def test_each_updated_ref_is_a_delivery_of_its_own(
    repository: Repository, receiver: Receiver
) -> None:
    sha = repository.pushed({"a": "1"})
    repository.push("HEAD:refs/heads/old")
    installed(repository, receiver.url)
    git(repository.work, "tag", "-a", "-m", "first", "v1")
    blob = git(repository.work, "rev-parse", "HEAD:a")

    repository.push("HEAD:refs/heads/new", ":refs/heads/old", "v1", f"{blob}:refs/tags/odd")

    events = {event.ref: event for event in receiver.events}
    new, tag = events["refs/heads/new"], events["refs/tags/v1"]
    assert isinstance(new, Event)
    assert (new.kind, new.sha, new.before) == (EventKind.PUSH, sha, None)
    assert isinstance(tag, Event)
    assert (tag.kind, tag.sha, tag.tag) == (EventKind.TAG, sha, "v1")
    assert isinstance(events["refs/heads/old"], Irrelevant)
    assert isinstance(events["refs/tags/odd"], Irrelevant)


def test_a_push_that_starts_nothing_is_told_why(repository: Repository, receiver: Receiver) -> None:
    installed(repository, receiver.url)
    reason = "`when` entry 1 wants branch main, this push was to dev"
    receiver.states = [{"state": "decided", "runs": [], "reason": reason}]
    repository.commit({"a": "1"})

    assert f"remote: Lading: no run: {reason}" in repository.push("HEAD:refs/heads/dev")


def test_a_delivery_that_ends_without_a_decision_is_told_at_once(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url)
    receiver.states = [{"state": "failed", "final": True, "runs": [], "reason": "the disk is full"}]
    repository.commit({"a": "1"})

    assert "remote: Lading: no run: the disk is full" in repository.push()


def test_a_decision_that_takes_long_is_told_with_the_deliverys_address(
    repository: Repository, receiver: Receiver
) -> None:
    hook = installed(repository, receiver.url)
    hook.write_text(hook.read_text().replace("DECISION_SECONDS = 5", "DECISION_SECONDS = 0.2"))
    receiver.states = [{"state": "received"}] * 100
    repository.commit({"a": "1"})

    assert "shown at http://lading.test/deliveries/d-msg_" in repository.push()


def test_what_a_server_says_cannot_drive_the_terminal(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url)
    receiver.states = [{"state": "decided", "runs": [], "reason": "\x1b]52;c;evil\x07\rx"}]
    repository.commit({"a": "1"})

    seen = repository.push()

    assert "no run: ?]52;c;evil??x" in seen
    assert "\x1b]" not in seen


def test_a_hostile_branch_name_runs_nothing(
    repository: Repository, receiver: Receiver, folder: Path
) -> None:
    installed(repository, receiver.url)
    name = "refs/heads/$(touch${IFS}pwned);`id`"
    repository.commit({"a": "1"}, "--output=pwned")

    repository.push(f"HEAD:{name}")

    [event] = receiver.events
    assert event.ref == name
    assert not list(folder.rglob("pwned"))


def test_a_push_succeeds_while_the_server_is_down_and_goes_out_with_the_next(
    repository: Repository, receiver: Receiver
) -> None:
    hook = installed(repository, "http://127.0.0.1:9")
    hook.write_text(hook.read_text().replace("SEND_SECONDS = 10", "SEND_SECONDS = 0.3"))
    first = repository.commit({"a": "1"})
    down = repository.push()
    kept = spooled(repository)
    installed(repository, receiver.url)
    second = repository.commit({"a": "2"})

    up = repository.push()

    assert "http://127.0.0.1:9 is out of reach" in down
    assert "Your push itself is done." in down
    assert "1 delivery is kept and sent with the next push" in down
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    assert [event.sha for event in receiver.events if isinstance(event, Event)] == [first, second]
    assert "1 delivery is handed over that earlier pushes had to keep." in up
    assert up.count("run 12 of web started") == 1
    assert spooled(repository) == []


def test_kept_deliveries_are_sent_again_on_demand_under_the_same_id(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url)
    receiver.statuses = [401]
    repository.commit({"a": "1"})
    refused = repository.push()
    [kept] = spooled(repository)
    delivery_id = json.loads(kept.read_text())["id"]

    assert "run 12 of web started" in resend(repository)
    assert "does not know the secret" in refused
    assert list(receiver.bodies) == [delivery_id]
    assert spooled(repository) == []


def test_a_server_that_is_busy_for_a_moment_is_tried_again(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url)
    receiver.statuses = [503, 429]
    repository.commit({"a": "1"})

    assert "run 12 of web started" in repository.push()
    assert (receiver.times, len(receiver.events)) == (3, 1)


def test_a_delivery_that_is_never_wanted_holds_up_no_other(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url)
    receiver.statuses = [400]
    repository.commit({"a": "1"})

    seen = repository.push("HEAD:refs/heads/one", "HEAD:refs/heads/two")

    assert "A delivery is given up" in seen
    assert len(receiver.events) == 1
    assert spooled(repository) == []


def test_a_wrong_secret_is_told_and_the_delivery_is_kept(
    repository: Repository, receiver: Receiver
) -> None:
    installed(repository, receiver.url, "whsec_" + "WFla" * 11)
    repository.commit({"a": "1"})

    assert "does not know the secret" in repository.push()
    assert len(spooled(repository)) == 1


def test_broken_settings_do_not_fail_the_push(repository: Repository, receiver: Receiver) -> None:
    hook = installed(repository, receiver.url)
    hook.with_name("lading.json").write_text("{}")
    repository.commit({"a": "1"})

    assert "Run `lading hook install` again" in repository.push()


def test_the_secret_is_readable_by_its_owner_alone(
    repository: Repository, receiver: Receiver
) -> None:
    hook = installed(repository, receiver.url)

    assert stat.S_IMODE(hook.stat().st_mode) == 0o755
    assert stat.S_IMODE(hook.with_name("lading.json").stat().st_mode) == 0o600
    assert SECRET not in hook.read_text()


def test_installing_again_renews_the_settings(repository: Repository, receiver: Receiver) -> None:
    installed(repository, "http://old.test")

    hook = installed(repository, receiver.url)

    assert json.loads(hook.with_name("lading.json").read_text())["url"] == receiver.url
    assert {path.name for path in hook.parent.iterdir() if not path.name.endswith(".sample")} == {
        "post-receive",
        "lading.json",
    }


def test_another_hook_is_not_overwritten_and_runs_first_once_renamed(
    repository: Repository, receiver: Receiver, folder: Path
) -> None:
    other = repository.bare / "hooks" / "post-receive"
    other.write_text(f"#!/bin/sh\ncat > '{folder}/input'\nexit 3\n")
    other.chmod(0o755)

    with pytest.raises(HookInstallError, match=r"Rename it to post-receive\.local"):
        installed(repository, receiver.url)
    other.rename(other.with_name("post-receive.local"))
    installed(repository, receiver.url)
    sha = repository.commit({"a": "1"})

    assert "run 12 of web started" in repository.push()
    assert (folder / "input").read_text() == f"{'0' * 40} {sha} refs/heads/main\n"


def test_a_link_in_the_hooks_place_is_not_followed(
    repository: Repository, receiver: Receiver, folder: Path
) -> None:
    (repository.bare / "hooks" / "post-receive").symlink_to(folder / "shared-hook")

    with pytest.raises(HookInstallError, match="is not Lading's"):
        installed(repository, receiver.url)

    assert not (folder / "shared-hook").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"server_url": "lading.test"}, "no address of a Lading server"),
        ({"secret": "hush"}, "starts with `whsec_`"),
        ({"name": "../web"}, "is no repository name"),
        ({"repository": Path(os.devnull)}, "is no bare git repository"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    repository: Repository, changed: dict[str, Any], said: str
) -> None:
    right: dict[str, Any] = {
        "repository": repository.bare,
        "server_url": "http://lading.test",
        "host_name": "ours",
        "secret": SECRET,
        "name": "acme/web",
    }

    with pytest.raises(HookInstallError, match=said):
        install(**{**right, **changed})

    assert not (repository.bare / "hooks" / "post-receive").exists()


def test_the_hook_needs_no_newer_python_than_it_says(repository: Repository) -> None:
    hook = installed(repository, "http://lading.test")

    parsed = ast.parse(hook.read_text(), feature_version=(3, 8))

    assert parsed.body


def test_hooks_that_git_looks_for_elsewhere_are_told(repository: Repository) -> None:
    git(repository.bare, "config", "core.hooksPath", "/etc/shared-hooks")

    with pytest.raises(HookInstallError, match="/etc/shared-hooks"):
        installed(repository, "http://lading.test")
