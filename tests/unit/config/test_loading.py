from __future__ import annotations

from pathlib import Path

import pytest

from server.config import ConfigInvalidError, Fault, Settings, load

SECRET = "correct horse battery staple"
KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
GITHUB = f'[hosts.github]\nkind = "github"\nwebhook_secret = "{SECRET}"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return load(file, environ)


def faults(file: Path, text: str, **environ: str) -> dict[str, Fault]:
    with pytest.raises(ConfigInvalidError) as caught:
        read(file, text, **environ)
    return {fault.setting: fault for fault in caught.value.faults}


def only(file: Path, text: str, **environ: str) -> Fault:
    (fault,) = faults(file, text, **environ).values()
    return fault


def test_without_a_file_and_an_environment_the_defaults_hold() -> None:
    settings = load(None, {"PATH": "/bin"})

    assert settings.server.port == 8000
    assert settings.worker.memory == 2 * 2**30


def test_durations_and_sizes_are_read_as_seconds_and_bytes(file: Path) -> None:
    settings = read(file, '[worker]\ntimeout = "1h30m"\nmemory = "512MiB"\n')

    assert settings.worker.timeout == 5400
    assert settings.worker.memory == 512 * 2**20


def test_the_data_folder_is_beside_the_file(file: Path) -> None:
    assert read(file, '[server]\ndata = "here"\n').server.data == file.parent / "here"


def test_a_variable_overrules_the_file(file: Path) -> None:
    settings = read(file, "[server]\nport = 1\n", LADING_SERVER__PORT="2")

    assert settings.server.port == 2


def test_a_variable_can_name_a_file_that_holds_the_value(file: Path) -> None:
    secret = file.with_name("token")
    secret.write_text("ghp_1\n")

    settings = read(file, GITHUB, LADING_HOSTS__GITHUB__TOKEN_FILE=str(secret))

    host = settings.hosts["github"]
    assert host.kind == "github"
    assert host.token is not None
    assert host.token.get_secret_value() == "ghp_1"


def test_a_table_with_dots_and_slashes_in_its_name_is_reached_by_underscores(file: Path) -> None:
    text = f'{GITHUB}[hosts.github.repositories."acme/web"]\n[registries."ghcr.io"]\nusername="a"'

    settings = read(
        file,
        text,
        LADING_REGISTRIES__GHCR_IO__PASSWORD="p",
        LADING_HOSTS__GITHUB__REPOSITORIES__ACME_WEB__WEBHOOK_SECRET=f"another {SECRET}",
    )

    assert settings.registries["ghcr.io"].password.get_secret_value() == "p"
    assert settings.hosts["github"].repositories["acme/web"].webhook_secret is not None


def test_an_empty_table_is_enough_for_a_host_from_the_environment(file: Path) -> None:
    settings = read(
        file,
        "[hosts.srv]\n",
        LADING_HOSTS__SRV__KIND="git",
        LADING_HOSTS__SRV__URL="/srv/git",
        LADING_HOSTS__SRV__WEBHOOK_SECRET=KEY,
    )

    assert settings.hosts["srv"].url == "/srv/git"


def test_a_repository_with_its_hosts_own_secret_is_a_fault(file: Path) -> None:
    text = f'{GITHUB}[hosts.github.repositories."acme/web"]\nwebhook_secret = "{SECRET}"\n'

    with pytest.raises(ConfigInvalidError, match="the same secret as the host"):
        read(file, text)


def test_a_database_other_than_sqlite_is_a_fault(file: Path) -> None:
    with pytest.raises(ConfigInvalidError, match="only SQLite works today"):
        read(file, '[database]\nurl = "postgresql://db/lading"\n')


def test_all_faults_are_told_at_once(file: Path) -> None:
    text = f"[server]\nport = 99999\nprot = 1\n{GITHUB}[hosts.lab]\nkind = 'gitlab'\n"

    found = faults(file, text, LADING_SERVER_PORT="1", LADING_WORKER__SLOTS="none")

    assert set(found) == {
        "LADING_SERVER_PORT",
        "hosts.lab.webhook_secret",
        "server.port",
        "server.prot",
        "worker.slots",
    }


def test_a_fault_names_setting_place_and_what_would_be_right(file: Path) -> None:
    fault = only(file, "[server]\n\nport = 99999\n")

    assert str(fault) == (
        "`server.port` (config.toml:3) is 99999; give a whole number from 0 to 65535"
    )


def test_a_fault_of_a_variable_names_the_variable(file: Path) -> None:
    assert only(file, "", LADING_SERVER__PORT="x").source == "LADING_SERVER__PORT"


def test_a_fault_of_a_named_file_names_both(file: Path) -> None:
    port = file.with_name("port")
    port.write_text("x")

    fault = only(file, "", LADING_SERVER__PORT_FILE=str(port))

    assert fault.source == f"LADING_SERVER__PORT_FILE ({port})"


@pytest.mark.parametrize(
    ("text", "setting", "hint"),
    [
        ("[server]\nprot = 1", "server.prot", "did you mean `port`?"),
        ("[sever]\nport = 1", "sever", "did you mean `server`?"),
        (f"{GITHUB}webhok_secret = 'x'", "hosts.github.webhok_secret", "did you mean `webhook_sec"),
        ("[server]\nqqq = 1", "server.qqq", "known here: address, data, log_format, port"),
    ],
)
def test_an_unknown_key_is_answered_with_the_known_ones(
    file: Path, text: str, setting: str, hint: str
) -> None:
    fault = only(file, text)

    assert fault.setting == setting
    assert fault.right.startswith(hint)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("LADING_SERVER_PORT", "did you mean `LADING_SERVER__PORT`?"),
        ("LADING_SERVER__PROT_FILE", "did you mean `LADING_SERVER__PORT_FILE`?"),
        ("LADING_REGISTRIES__QUAY_IO__PASSWORD", "give the file the table it belongs to"),
        ("LADING_ZZZ", "take it out of the environment"),
    ],
)
def test_an_unknown_variable_is_a_fault(file: Path, variable: str, hint: str) -> None:
    fault = only(file, "", **{variable: "1"})

    assert fault.setting == variable
    assert fault.right.startswith(hint)


def test_a_variable_that_could_mean_two_tables_is_a_fault(file: Path) -> None:
    text = '[registries."a.b"]\nusername="x"\npassword="y"\n'
    text += '[registries."a-b"]\nusername="x"\npassword="y"\n'

    fault = only(file, text, LADING_REGISTRIES__A_B__PASSWORD="p")

    assert fault.wrong == 'could mean `registries.a-b.password` and `registries."a.b".password`'


def test_a_variable_given_both_ways_is_a_fault(file: Path) -> None:
    fault = only(file, "", LADING_SERVER__PORT="1", LADING_SERVER__PORT_FILE="/x")

    assert fault.wrong == "says again what `LADING_SERVER__PORT` says"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "which is no UTF-8 text"),
        (b"x" * 70_000, "which is larger than 64 KiB"),
    ],
)
def test_a_named_file_that_holds_no_value_is_a_fault(
    file: Path, content: bytes | None, wrong: str
) -> None:
    named = file.with_name("value")
    if content is not None:
        named.write_bytes(content)

    assert only(file, "", LADING_SERVER__PORT_FILE=str(named)).wrong.endswith(wrong)


def test_broken_toml_is_told_with_line_and_column(file: Path) -> None:
    fault = only(file, "[server]\nport = = 3\n")

    assert fault.source == f"{file}:2:8"
    assert fault.wrong == "is no TOML: invalid value"


def test_a_missing_file_is_told_with_a_start(file: Path) -> None:
    with pytest.raises(ConfigInvalidError, match=r"No such file.*config\.example\.toml"):
        load(file, {})


def test_a_file_that_is_no_text_is_told_with_its_line(file: Path) -> None:
    file.write_bytes(b"[server]\nurl = '\xff'\n")

    with pytest.raises(ConfigInvalidError, match=r"config\.toml:2\) is no UTF-8 text"):
        load(file, {})


@pytest.mark.parametrize(
    ("text", "setting", "wrong"),
    [
        ("server = 3", "server", "is no table"),
        ("hosts = 3", "hosts", "is no table"),
        ("[hosts]\ngithub = 3", "hosts.github", "is no table"),
        ("[worker]\nmemory = 'much'", "worker.memory", "is wrong: 'much' is no size"),
        ("[worker]\nmemory = 512", "worker.memory", "is 512"),
        ("[worker]\ntimeout = '0s'", "worker.timeout", "is '0s'"),
        ("[server]\nurl = 'ci.example.com'", "server.url", "is 'ci.example.com'"),
        ("[registries.'ghcr.io']\nusername = 'x'", 'registries."ghcr.io".password', "is missing"),
    ],
)
def test_a_value_that_cannot_be_is_told(file: Path, text: str, setting: str, wrong: str) -> None:
    fault = only(file, text)

    assert fault.setting == setting
    assert fault.wrong.startswith(wrong)


@pytest.mark.parametrize(
    ("kind", "key", "value", "wrong"),
    [
        ("github", "webhook_secret", "short", "has 5 characters, so it can be guessed"),
        ("gitlab", "webhook_secret", "short", "has 5 characters, so it can be guessed"),
        ("gitlab", "signing_token", SECRET, "does not begin with `whsec_`"),
        ("git", "webhook_secret", "whsec_!", "is no base64 behind `whsec_`"),
        ("git", "webhook_secret", "whsec_c2hvcnQ=", "holds 5 bytes"),
        ("github", "webhook_secret", "an-example-that-everyone-knows", "is the documentation's"),
    ],
)
def test_a_weak_secret_is_refused_for_a_host_and_for_a_repository(
    file: Path, kind: str, key: str, value: str, wrong: str
) -> None:
    table = f"[hosts.h]\nkind = '{kind}'\nurl = 'https://example.com'\n"
    found = faults(file, f"{table}{key} = '{value}'\n[hosts.h.repositories.r]\n{key} = '{value}'\n")

    assert set(found) == {f"hosts.h.{key}", f"hosts.h.repositories.r.{key}"}
    assert all(fault.wrong.startswith(wrong) for fault in found.values())


def test_a_host_that_could_verify_nothing_is_refused(file: Path) -> None:
    fault = only(file, '[hosts.github]\nkind = "github"\n')

    assert fault.setting == "hosts.github.webhook_secret"


def test_a_secret_of_one_repository_is_enough_for_a_host(file: Path) -> None:
    text = '[hosts.h]\nkind = "github"\n[hosts.h.repositories."a/b"]\n'

    assert read(file, f'{text}webhook_secret = "{SECRET}"').hosts["h"].webhook_secret is None


def test_a_host_name_must_fit_into_an_address(file: Path) -> None:
    text = f'[hosts."Git Hub"]\nkind = "github"\nwebhook_secret = "{SECRET}"'

    assert only(file, text).setting == 'hosts."Git Hub"'


def test_no_fault_shows_the_value_of_a_secret(file: Path) -> None:
    text = (
        "[hosts.lab]\nkind = 'gitlab'\nwebhook_secret = 'hush-1'\nsigning_token = 'hush-2'\n"
        "tokn = 'hush-3'\ntoken = ['hush-4']\n"
        "[hosts.git]\nkind = 'git'\nwebhook_secret = 'whsec_hush-5'\n"
    )
    with pytest.raises(ConfigInvalidError) as caught:
        read(file, text, LADING_HOSTS__LAB__WEBHOOK_SECRET="hush-6", LADING_ZZZ="hush-7")

    assert len(caught.value.faults) == 7
    assert "hush" not in str(caught.value)
