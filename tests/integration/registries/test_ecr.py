"""Amazon ECR: tokens and repositories by its API, as moto answers it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from pipelines.registries.kinds import Account, KindError, kind_of
from pipelines.registries.refusals import Refusal
from server.registries.accounts import Place, Source
from server.registries.logins import LiveLogins
from tests.builders import Clock
from tests.parts.ecr import HOST, ecr

ACCOUNT = Account(host=HOST, username="AKIAEXAMPLE", password="an-example-secret", create=True)
KIND = kind_of(HOST)
END = datetime(2015, 1, 1, tzinfo=UTC)
"""Of every token that moto gives."""


def at_noon() -> Clock:
    """Twelve hours before the token's end, when Amazon would have given it."""
    return Clock(END - timedelta(hours=12))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ecr(tmp_path_factory.mktemp("ecr") / "moto.log") as url:
        yield url


@pytest.fixture(autouse=True)
def _at_moto(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", api)


def live(clock: Clock, account: Account = ACCOUNT) -> LiveLogins:
    logins = LiveLogins(clock)
    logins.use({account.host: Place(account=account, kind="ecr", source=Source.STORED)})
    return logins


def test_an_access_key_becomes_a_token_with_its_end() -> None:
    given = KIND.enter(ACCOUNT)

    assert given.login.username == "AWS"
    assert given.login.password not in ("", ACCOUNT.password)
    assert given.until == END


def test_a_repository_is_made_once_and_again_is_no_error() -> None:
    assert KIND.make(ACCOUNT, "acme/web")
    assert KIND.make(ACCOUNT, "acme/web")

    client = boto3.client(
        "ecr", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    listed = client.describe_repositories()["repositories"]
    assert [each["repositoryName"] for each in listed] == ["acme/web"]


def test_a_token_serves_until_an_hour_before_its_end_and_then_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = at_noon()
    logins = live(clock)
    asked = counted(monkeypatch)

    clock.forward(hours=10.9)
    logins.enter(HOST)
    assert asked == []

    clock.forward(hours=0.2)
    logins.enter(HOST)
    assert len(asked) == 1
    assert logins[HOST].username == "AWS"


def test_a_refused_token_is_renewed_once_and_not_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = at_noon()
    logins = live(clock)
    asked = counted(monkeypatch)
    clock.forward(minutes=5)

    assert logins.mend(f"{HOST}/acme/web", Refusal.DENIED)
    assert not logins.mend(f"{HOST}/acme/web", Refusal.DENIED)
    assert len(asked) == 1


def test_a_repository_that_a_push_misses_is_made_where_that_is_wanted() -> None:
    clock = at_noon()

    assert live(clock).mend(f"{HOST}/acme/new", Refusal.NOT_FOUND)
    unwanted = ACCOUNT.model_copy(update={"create": False})
    assert not live(clock, unwanted).mend(f"{HOST}/acme/newer", Refusal.NOT_FOUND)


def test_an_api_that_does_not_answer_leaves_the_old_token_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = at_noon()
    logins = live(clock)
    before = logins[HOST]
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    clock.forward(hours=11.5)

    assert logins.enter(HOST) == before
    assert "check the access key" in str(logins.fault(HOST))
    with pytest.raises(KindError):
        KIND.enter(ACCOUNT)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Account]:
    """The accounts for which a token is asked for from now on; the asking goes through."""
    asked: list[Account] = []
    real = type(KIND).enter

    def enter(_self: object, account: Account) -> object:
        asked.append(account)
        return real(KIND, account)

    monkeypatch.setattr(type(KIND), "enter", enter)
    return asked
