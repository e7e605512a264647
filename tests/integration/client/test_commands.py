"""Signing in, and what commands tell of a server and change on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.definition.fields import Missed
from pipelines.progress import State
from server.auth import make_token
from server.store import timetable
from server.store.rows import NewSchedule
from tests.builders import House, event
from tests.integration.cli.test_writing_commands import in_a_terminal
from tests.integration.client.conftest import Person
from tests.parts.answering import answer, answering
from tests.parts.proxy import Proxy

Fails = Callable[..., str]


def test_whoever_signs_in_is_told_who_they_are_and_kept_for_themselves(
    stranger: Person, house: House, url: str
) -> None:
    token = house.token("ada")

    done = stranger.lading("login", url, told=f"{token}\n")

    assert done.returncode == 0
    assert f"at {url} knows you as ada. It is the current one." in done.stderr
    assert token not in done.stdout + done.stderr
    assert stranger.servers.stat().st_mode & 0o777 == 0o600


def test_a_token_may_come_from_a_file(stranger: Person, house: House, url: str) -> None:
    (stranger.folder / "token").write_text(house.token("ci") + "\n")

    assert stranger.lading("login", url, "--token-file", "token").returncode == 0
    assert stranger.lading("runs").returncode == 0


def test_a_token_is_asked_for_without_being_shown(stranger: Person, house: House, url: str) -> None:
    script = f"import getpass; getpass.getpass = lambda text: print(text) or {house.token()!r}\n"
    script += "import sys; sys.argv = ['lading', 'login', " + repr(url) + "]\n"
    script += "sys.stdin.isatty = lambda: True\nfrom server.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=stranger.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"API token for {url} (it is not shown)" in done.stdout


def test_a_wrong_token_is_refused_and_not_kept(stranger: Person, url: str) -> None:
    done = stranger.lading("login", url, told=make_token())

    assert done.returncode == 4
    assert "this token is unknown or has expired" in done.stderr
    assert not stranger.servers.exists()


@pytest.mark.parametrize("told", ["", "\n", "two words", "to\x07ken", "tök"])
def test_what_cannot_be_a_token_is_not_sent(stranger: Person, wire: Proxy, told: str) -> None:
    done = stranger.lading("login", f"http://{wire.address}", told=told)

    assert done.returncode == 2
    assert "that is no API token" in done.stderr
    assert wire.requests == []


def test_a_stranger_is_told_how_to_sign_in(stranger: Person) -> None:
    done = stranger.lading("runs")

    assert done.returncode == 2
    assert done.stderr == ("lading: no server is known yet: `lading login URL` signs in to one\n")


def test_a_token_that_was_revoked_is_told_with_the_way_out(stranger: Person, url: str) -> None:
    done = stranger.lading("runs", LADING_URL=url, LADING_TOKEN=make_token())

    assert done.returncode == 4
    assert f"`lading login {url}`" in done.stderr


def test_signing_in_again_is_no_harm_and_signing_out_is_once(
    person: Person, house: House, url: str, fails: Fails
) -> None:
    again = person.lading("login", url, "--name", "work", told=house.token("again"))
    assert "knows you as again" in again.stderr

    assert "work is forgotten here" in person.lading("logout").stderr
    assert "no server is known yet" in fails(2, "logout")
    assert "no server is known yet" in fails(2, "runs")


def test_one_of_several_servers_is_the_current_one(person: Person, fails: Fails) -> None:
    with answering(answer(200, json.dumps({"name": "eve", "version": "1"}))) as other:
        assert person.lading("login", other.url, "--name", "other", told="x").returncode == 0

    shown = person.lading("servers").stdout.splitlines()
    assert shown[0] == f"* other  {other.url}"
    assert shown[1].startswith("  work   http://127.0.0.1:")
    assert "does not answer" in fails(4, "runs")
    assert person.lading("runs", "--server", "work").returncode == 0
    person.lading("use", "work")
    assert person.lading("runs").returncode == 0
    assert "no server 'none' is known (there is work, other)" in fails(2, "runs", "-s", "none")


def test_http_to_another_machine_is_warned_of(stranger: Person) -> None:
    done = stranger.lading("login", "http://ci.invalid", told="x")

    assert done.returncode == 4
    assert "everybody on the way there can read the token" in done.stderr


def test_a_server_that_is_away_is_told_with_what_to_do(person: Person, wire: Proxy) -> None:
    wire.go_down()

    done = person.lading("show", 1)

    assert done.returncode == 4
    assert "does not answer" in done.stderr
    assert "see that the server runs" in done.stderr


def test_runs_are_listed_newest_first_and_by_what_is_asked(person: Person, house: House) -> None:
    failed, passed = house.failed(), house.succeeded()

    rows = person.lading("runs").stdout.splitlines()
    assert rows[0].split()[:5] == ["RUN", "STATE", "REPOSITORY", "PIPELINE", "OF"]
    assert [row.split()[:4] for row in rows[1:]] == [
        [str(passed.id), "success", "acme/web", "web"],
        [str(failed.id), "failure", "acme/web", "web"],
    ]

    def found(*arguments: object) -> list[int]:
        return [run["id"] for run in person.json("runs", *arguments)]

    assert found("--state", "failure") == [failed.id]
    assert found("--branch", "main", "--repo", "acme/web", "-n", 1) == [passed.id]
    assert found("--repo", "acme/none") == []
    assert person.lading("runs", "--repo", "acme/none").stdout == "No run is like that.\n"
    assert person.lading("runs", "--state", "great").returncode == 2


def test_more_runs_than_one_answer_has_are_all_listed(person: Person, house: House) -> None:
    for _ in range(203):
        house.run()

    assert len(person.json("runs", "-n", 203)) == 203


def test_colours_are_for_terminals(person: Person, house: House) -> None:
    house.failed()

    assert "\x1b[" not in person.lading("runs").stdout
    config = person.env["XDG_CONFIG_HOME"]
    shown = in_a_terminal(person.folder, "runs", XDG_CONFIG_HOME=config, NO_COLOR="")
    assert "\x1b[1;31mfailure\x1b[0m" in shown


def test_what_strangers_wrote_moves_nothing_on_a_terminal(person: Person, house: House) -> None:
    evil = event(title="\x1b]0;owned\x07\x1b[2Jtitle\nRUN 99")
    run = house.run(happening=evil)

    for command in (["runs"], ["show", run.id], ["queue"]):
        shown = person.lading(*command).stdout
        assert "\x1b" not in shown
        assert not any(line.startswith("RUN 99") for line in shown.splitlines())


def test_a_run_is_shown_with_its_steps_and_the_last_lines_of_what_failed(
    person: Person, house: House
) -> None:
    run = house.failed(b"".join(b"line %d\n" % number for number in range(5000)))

    shown = person.lading("show", run.id).stdout

    assert f"run {run.id}  failure  acme/web web, push main" in shown
    assert "test.unit failed: exit code 1" in shown
    assert "push.web   skipped" in shown
    assert "exit code 1: a command failed; its last lines say why" in shown
    assert "line 4979\n" not in shown
    assert "line 4980\n" in shown
    assert shown.rstrip().endswith(f"all of it: lading logs {run.id} test.unit")


def test_a_run_that_is_not_there_is_told(fails: Fails) -> None:
    for command in (["show"], ["logs"], ["cancel"], ["rerun"]):
        assert "there is no run 77" in fails(4, *command, 77)


def test_what_waits_is_listed(person: Person, house: House) -> None:
    assert person.lading("queue").stdout == "Nothing waits.\n"
    run = house.run()

    row = person.lading("queue").stdout.splitlines()[1]

    assert row.split()[:3] == [str(run.id), "acme/web", "web"]
    assert row.endswith("waits for a slot")
    assert person.json("queue")["waiting"] == 1


def test_what_is_asked_for_reaches_the_server_and_its_no_comes_back(fails: Fails) -> None:
    said = fails(3, "start", "acme/web", "v1", "-p", "docs", "--host", "forge", "-i", "level=a=b")

    reason = "ada asked for docs at v1 of forge with ['level']"
    assert said == f"lading: nothing was started: {reason}\n"
    assert "acme/none" in fails(4, "start", "acme/none", "main")


def test_what_cannot_be_asked_for_is_wrong_use(fails: Fails) -> None:
    start = ("start", "acme/web", "main")

    assert "'level' is not of the form NAME=VALUE" in fails(2, *start, "--input", "level")
    assert "'a' is given twice" in fails(2, *start, "-i", "a=1", "-i", "a=2")
    assert "take --wait" in fails(2, *start, "--json", "-f")


def test_a_run_is_run_again_and_cancelled(person: Person, house: House, fails: Fails) -> None:
    run = house.failed()

    again = person.lading("rerun", run.id, "--failed")
    assert again.stdout.startswith(f"run {run.id}, attempt 2  http")
    assert "wait for its end" in fails(4, "rerun", run.id)
    assert "leave one out" in fails(2, "rerun", run.id, "--failed", "--from", "test.unit")

    assert f"run {run.id} is cancelled" in person.lading("cancel", run.id).stderr
    assert "has ended already" in fails(4, "cancel", run.id)
    assert house.fresh(run.id).state is State.CANCELLED


def test_waiting_for_what_has_ended_gives_its_code_at_once(person: Person, house: House) -> None:
    run = house.succeeded()
    cancelled = person.lading("rerun", run.id)
    person.lading("cancel", run.id)

    assert cancelled.returncode == 0
    assert person.lading("logs", run.id, "-f").returncode == 3


def test_the_output_of_a_run_is_printed_step_by_step(person: Person, house: House) -> None:
    run = house.succeeded()

    assert person.lading("logs", run.id).stdout == (
        "--- build.web ---\noutput of build.web\n"
        "--- test.unit ---\noutput of test.unit\n"
        "--- push.web ---\noutput of push.web\n"
    )
    assert person.lading("logs", run.id, "test.unit").stdout == "output of test.unit\n"


def test_a_step_that_is_not_there_is_told_with_those_that_are(house: House, fails: Fails) -> None:
    run = house.succeeded()

    for more in ([], ["-f"]):
        said = fails(4, "logs", run.id, "test.none", *more)
        assert "it has build.web, test.unit, push.web" in said


def test_a_secret_is_set_listed_and_removed_on_a_server(
    person: Person, house: House, fails: Fails
) -> None:
    house.repository()
    value = "correct horse battery staple"

    made = person.lading(
        *("secret", "set", "npm", "--server", "work", "-r", "acme/web", "--branch", "main"),
        told=value,
    )
    listed = person.lading("secret", "list", "-s", "work").stdout

    assert made.returncode == 0, made.stderr
    assert listed.splitlines()[1].split("  ")[0] == "npm"
    assert "forge/acme/web" in listed
    assert "main" in listed
    assert listed.rstrip().endswith("ada")
    assert value not in made.stdout + made.stderr + listed
    assert "has no secret 'npm'" in fails(4, "secret", "remove", "npm", "--server", "work")
    gone = person.lading("secret", "remove", "npm", "--server", "work", "-r", "acme/web")
    assert gone.returncode == 0
    assert not (person.folder / "data").exists(), "nothing was done on this machine"


def test_deliveries_are_listed_and_read_again_on_a_server(
    person: Person, house: House, fails: Fails
) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "No run: the branch is dev")

    assert "No run: the branch is dev" in person.lading("deliveries", "-s", "work").stdout
    assert person.lading("redeliver", delivery.id, "-s", "work").returncode == 0
    assert "waits to be read already" in fails(4, "redeliver", delivery.id, "-s", "work")


def test_schedules_are_listed_with_their_next_time(person: Person, house: House) -> None:
    new = NewSchedule(
        file=".lading.yml",
        pipeline="nightly",
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        missed=Missed.LATEST,
        next_at=datetime(2026, 5, 5, 1, tzinfo=UTC),
    )
    house.database.run(timetable.set_schedules, house.repository().id, [new])

    (row,) = person.lading("schedules").stdout.splitlines()[1:]

    assert row.split("  ")[0] == "acme/web"
    assert "0 3 * * *" in row
    assert "2026-05-05 01:00" in row
    (told,) = person.json("schedules")
    assert (told["ref"], told["last_run"]) == ("main", None)


def test_no_command_writes_the_token_anywhere_but_into_its_file(
    person: Person, house: House, tmp_path: Path
) -> None:
    token = json.loads(person.servers.read_text())["servers"]["work"]["token"]
    run = house.failed()

    for command in (["runs"], ["show", run.id], ["servers"], ["show", 77], ["queue", "--json"]):
        done = person.lading(*command)
        assert token not in done.stdout + done.stderr
    holding = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and token.encode() in path.read_bytes()
    ]
    assert holding == [person.servers]
