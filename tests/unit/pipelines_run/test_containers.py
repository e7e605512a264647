from __future__ import annotations

import subprocess
from typing import Any

import pytest

from pipelines.engine.containers import (
    Attempt,
    Limits,
    attempt_tag,
    environment,
    host_config,
    image_repository,
    script,
    slug,
    tag_prefix,
)

ATTEMPT = Attempt(server="s1", run="7", attempt=2, repository="Acme/Web_App")


def sh(*commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-e", "-c", script(commands)], capture_output=True, text=True, check=False
    )


ENGINE: Any = {
    "network": "n",
    "volume": "v",
    "runtime": None,
    "init": True,
    "log_driver": "local",
}


def test_each_command_is_echoed_before_it_runs() -> None:
    assert sh("echo one", "echo two").stdout == "$ echo one\none\n$ echo two\ntwo\n"


def test_the_first_failure_ends_the_script() -> None:
    done = sh("exit 3", "echo never")
    assert (done.returncode, done.stdout) == (3, "$ exit 3\n")


@pytest.mark.parametrize(
    "command",
    ["true '%s %d \\n'", 'true "$(echo x)"', "true 'it'\\''s'", "true `echo y`", "true $HOME"],
)
def test_the_echo_shows_a_command_as_it_is_written(command: str) -> None:
    assert sh(command).stdout == f"$ {command}\n"


def test_several_lines_are_one_command() -> None:
    assert sh("cat <<EOF\nhello\nEOF").stdout == "$ cat <<EOF\nhello\nEOF\nhello\n"


def test_a_container_has_no_powers_that_steps_do_not_need() -> None:
    config = host_config(Limits(), **ENGINE)
    assert config["privileged"] is False
    assert config["cap_drop"] == ["ALL"]
    assert set(config["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert config["security_opt"] == ["no-new-privileges"]
    assert config["binds"] == ["v:/workspace:nocopy"]


def test_swap_does_not_widen_the_memory_limit() -> None:
    config = host_config(Limits(memory=2**29), **ENGINE)
    assert config["mem_limit"] == config["memswap_limit"] == 2**29


def test_what_the_engine_keeps_of_the_log_is_bounded() -> None:
    config = host_config(Limits(log=2**26), **ENGINE)
    assert config["log_config"]["Config"] == {"max-size": str(2**26), "max-file": "5"}


def test_a_step_may_overrule_the_word_to_the_init_process() -> None:
    assert environment({"A": "1"}) == {"TINI_KILL_PROCESS_GROUP": "1", "A": "1"}
    assert environment({"TINI_KILL_PROCESS_GROUP": ""}) == {"TINI_KILL_PROCESS_GROUP": ""}


def test_names_on_the_engine_tell_server_run_attempt_and_step() -> None:
    assert ATTEMPT.name("test.unit") == "lading-s1-7-2-test.unit"


def test_labels_tell_where_a_container_belongs() -> None:
    assert ATTEMPT.labels("test.unit") == {
        "lading.server": "s1",
        "lading.run": "7",
        "lading.attempt": "2",
        "lading.repository": "Acme/Web_App",
        "lading.step": "test.unit",
    }


@pytest.mark.parametrize("text", ["", "---", "Ü", "a/b c", "../x"])
def test_a_slug_is_a_name_whatever_it_is_made_of(text: str) -> None:
    assert slug(text)[0].isalnum()
    assert "/" not in slug(text)


def test_repositories_that_share_a_slug_have_images_apart() -> None:
    other = ATTEMPT.model_copy(update={"repository": "acme/web-app"})
    assert image_repository(ATTEMPT, "web").startswith("lading/acme-web-app-")
    assert image_repository(ATTEMPT, "web") != image_repository(other, "web")


def test_a_servers_tags_never_begin_like_anothers() -> None:
    longer = ATTEMPT.model_copy(update={"server": "s1-b"})
    assert attempt_tag(ATTEMPT).startswith(tag_prefix("s1"))
    assert not attempt_tag(longer).startswith(tag_prefix("s1"))
