from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from server.config import GitHubSettings
from server.hosts.github import GitHubHost
from server.hosts.port import (
    CommitStatus,
    HostCheck,
    HostError,
    Refusal,
    RepositoryRef,
    StatusState,
)
from tests.doubles import GitHubDouble, serve

SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
NOW = datetime(2026, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[GitHubDouble, str]]:
    double = GitHubDouble()
    with serve(double.app) as url:
        yield double, url


@pytest.fixture
def double(served: tuple[GitHubDouble, str]) -> GitHubDouble:
    found = served[0]
    found.requests.clear()
    found.statuses.clear()
    found.repositories.clear()
    found.max_statuses, found.may_write, found.scopes = 1000, True, "repo:status"
    found.add_repository("acme/web")
    return found


@pytest.fixture
def host(served: tuple[GitHubDouble, str], double: GitHubDouble) -> GitHubHost:
    return made(served[1], double.token)


def made(url: str, token: str | None) -> GitHubHost:
    table = {"kind": "github", "api_url": url, "token": token}
    return GitHubHost(
        "github",
        GitHubSettings.model_validate(table),
        now=lambda: NOW,
        request_timeout=1,
        call_timeout=3.0,
    )


def status(
    state: StatusState = StatusState.SUCCESS, *, description: str = "3 steps passed in 12 s"
) -> CommitStatus:
    return CommitStatus(
        repository=RepositoryRef(external_id="1", full_name="acme/web"),
        sha=SHA,
        context="lading/web",
        state=state,
        description=description,
        target_url="https://ci.example.com/runs/7",
        ref="main",
    )


def post(host: GitHubHost, sent: CommitStatus | None = None) -> None:
    asyncio.run(host.post_status(sent or status()))


def refused(host: GitHubHost, sent: CommitStatus | None = None) -> HostError:
    with pytest.raises(HostError) as caught:
        post(host, sent)
    return caught.value


@pytest.mark.parametrize(
    ("state", "shown", "told"),
    [
        (StatusState.PENDING, "pending", "3 steps"),
        (StatusState.RUNNING, "pending", "3 steps"),
        (StatusState.SUCCESS, "success", "3 steps"),
        (StatusState.FAILURE, "failure", "3 steps"),
        (StatusState.ERROR, "error", "3 steps"),
        (StatusState.CANCELLED, "error", "Cancelled: 3 steps"),
    ],
)
def test_every_state_is_shown_as_github_knows_it(
    double: GitHubDouble, host: GitHubHost, state: StatusState, shown: str, told: str
) -> None:
    post(host, status(state))

    found = double.latest("acme/web", SHA, "lading/web")
    assert found is not None
    assert (found.state, found.target_url) == (shown, "https://ci.example.com/runs/7")
    assert str(found.description).startswith(told)


def test_a_status_costs_one_request(double: GitHubDouble, host: GitHubHost) -> None:
    post(host)

    assert [(sent.method, sent.path) for sent in double.requests] == [
        ("POST", f"/repos/acme/web/statuses/{SHA}")
    ]


def test_posting_the_same_status_again_is_harmless(double: GitHubDouble, host: GitHubHost) -> None:
    post(host)
    post(host)

    assert [row.state for row in double.history("acme/web", SHA, "lading/web")] == ["success"] * 2


def test_a_long_description_is_cut_to_what_github_takes(
    double: GitHubDouble, host: GitHubHost
) -> None:
    post(host, status(description="ü" * 500))

    found = double.latest("acme/web", SHA, "lading/web")
    assert found is not None
    assert found.description == "ü" * 139 + "…"


def test_nothing_waits_between_statuses(host: GitHubHost) -> None:
    started = time.monotonic()
    for _ in range(5):
        post(host)

    assert time.monotonic() - started < 2


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_server_error_is_sent_once_and_worth_another_try(
    double: GitHubDouble, host: GitHubHost, code: int
) -> None:
    double.fail_next(1, code)

    error = refused(host)

    assert not error.permanent
    assert len(double.requests) == 1


@pytest.mark.parametrize("code", [403, 429])
def test_the_hosts_wish_to_wait_is_passed_on_at_once(
    double: GitHubDouble, host: GitHubHost, code: int
) -> None:
    message = {"message": "You have exceeded a secondary rate limit."}
    double.fail_next(1, code, {"Retry-After": "77"}, message)
    started = time.monotonic()

    error = refused(host)

    assert (error.permanent, error.retry_after) == (False, 77)
    assert time.monotonic() - started < 2


def test_a_used_up_rate_limit_is_waited_for_until_its_reset(
    double: GitHubDouble, host: GitHubHost
) -> None:
    headers = {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(NOW.timestamp()) + 600),
    }
    double.fail_next(1, 403, headers, {"message": "API rate limit exceeded for user ID 1."})

    error = refused(host)

    assert (error.permanent, error.retry_after) == (False, 600)


def test_a_secondary_limit_without_a_time_is_waited_for_a_minute(
    double: GitHubDouble, host: GitHubHost
) -> None:
    double.fail_next(1, 403, {}, {"message": "You have exceeded a secondary rate limit."})

    error = refused(host)

    assert (error.permanent, error.retry_after) == (False, 60)


def test_429_without_a_time_is_worth_another_try(double: GitHubDouble, host: GitHubHost) -> None:
    double.fail_next(1, 429)

    error = refused(host)

    assert (error.permanent, error.retry_after) == (False, None)


def test_a_token_without_the_right_to_write_is_told_so(
    double: GitHubDouble, host: GitHubHost
) -> None:
    double.may_write = False

    error = refused(host)

    assert (error.permanent, error.refused) == (False, Refusal.REPOSITORY)
    assert "write access to commit statuses" in str(error)


def test_a_revoked_token_is_told_so(served: tuple[GitHubDouble, str], double: GitHubDouble) -> None:
    error = refused(made(served[1], "ghp_revoked"))

    assert (error.permanent, error.refused) == (False, Refusal.CREDENTIAL)
    assert "expired or revoked" in str(error)
    assert len(double.requests) == 1
    assert "ghp_revoked" not in str(error)


def test_a_repository_that_cannot_be_seen_is_told_so(
    double: GitHubDouble, host: GitHubHost
) -> None:
    double.repositories.clear()

    error = refused(host)

    assert (error.permanent, error.refused) == (False, Refusal.REPOSITORY)
    assert "acme/web" in str(error)
    assert "give it access" in str(error)


def test_a_commit_that_is_gone_is_not_tried_again(double: GitHubDouble, host: GitHubHost) -> None:
    double.add_repository("acme/web", commits={"a" * 40})

    error = refused(host)

    assert error.permanent
    assert "No commit found" in str(error)


def test_the_limit_of_statuses_for_a_commit_is_final(
    double: GitHubDouble, host: GitHubHost
) -> None:
    double.max_statuses = 1
    post(host)

    error = refused(host)

    assert error.permanent
    assert "maximum number of statuses" in str(error)


@pytest.mark.parametrize("code", [301, 307])
def test_an_answer_that_took_no_status_is_never_a_success(
    double: GitHubDouble, host: GitHubHost, code: int
) -> None:
    moved = {"message": "Moved Permanently", "url": "https://other.example.com/x"}
    double.fail_next(1, code, {"Location": "https://other.example.com/x"}, moved)

    assert refused(host).permanent


def test_an_answer_that_is_no_json_is_worth_another_try_or_told(
    double: GitHubDouble, host: GitHubHost
) -> None:
    double.fail_next(1, 502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>")

    assert not refused(host).permanent


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"[]", b"null", b"7", b"{}"])
def test_a_success_that_is_none_is_never_a_success(
    double: GitHubDouble, host: GitHubHost, body: bytes
) -> None:
    double.fail_next(1, 200, {"Content-Type": "application/json"}, body)

    refused(host)


def test_a_host_that_hangs_is_given_up(double: GitHubDouble, host: GitHubHost) -> None:
    double.hang_next()
    started = time.monotonic()

    error = refused(host)

    assert not error.permanent
    assert time.monotonic() - started < 3
    post(host)


def test_a_host_that_is_not_there_is_worth_another_try(double: GitHubDouble) -> None:
    error = refused(made("http://127.0.0.1:9", double.token))

    assert not error.permanent
    assert "could not be reached" in str(error)


def test_without_a_token_the_setting_is_named() -> None:
    error = refused(made("http://127.0.0.1:9", None))

    assert error.permanent
    assert "hosts.github.token" in str(error)


def check(host: GitHubHost) -> HostCheck:
    return asyncio.run(host.check())


def test_the_check_tells_whose_token_it_is_and_what_is_left(host: GitHubHost) -> None:
    found = check(host)

    assert found.ok
    assert "token of lading-bot" in found.message
    assert "of 5000 requests left" in found.message


def test_the_check_tells_a_scope_that_is_missing(double: GitHubDouble, host: GitHubHost) -> None:
    double.scopes = "gist"

    found = check(host)

    assert not found.ok
    assert "repo:status" in found.fix


def test_the_check_tells_a_wrong_token(served: tuple[GitHubDouble, str]) -> None:
    found = check(made(served[1], "ghp_wrong"))

    assert not found.ok
    assert "revoked" in found.message
    assert "hosts.github.token" in found.fix


def test_the_check_tells_a_missing_token() -> None:
    found = check(made("http://127.0.0.1:9", None))

    assert not found.ok
    assert "hosts.github.token" in found.fix
