from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from server.config import GitLabSettings
from server.hosts.gitlab import GitLabHost
from server.hosts.port import (
    CommitStatus,
    HostCheck,
    HostError,
    Refusal,
    RepositoryRef,
    StatusState,
)
from tests.doubles import GitLabDouble, serve
from tests.doubles.gitlab import Project

SHA = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
NOW = datetime(2026, 2, 12, tzinfo=UTC)
ENDS = [StatusState.SUCCESS, StatusState.FAILURE, StatusState.CANCELLED]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[GitLabDouble, str]]:
    double = GitLabDouble()
    with serve(double.app) as url:
        yield double, url


@pytest.fixture
def double(served: tuple[GitLabDouble, str]) -> GitLabDouble:
    found = served[0]
    found.requests.clear()
    found.statuses.clear()
    found.projects.clear()
    found.may_write = True
    return found


@pytest.fixture
def project(double: GitLabDouble) -> Project:
    return double.add_project("acme/tools/web")


@pytest.fixture
def host(served: tuple[GitLabDouble, str], double: GitLabDouble) -> GitLabHost:
    return made(served[1], double.token)


def made(url: str, token: str | None) -> GitLabHost:
    table = {"kind": "gitlab", "url": url, "token": token}
    return GitLabHost(
        "gitlab",
        GitLabSettings.model_validate(table),
        now=lambda: NOW,
        request_timeout=1,
        call_timeout=3.0,
    )


def status(
    project: Project,
    state: StatusState = StatusState.SUCCESS,
    *,
    external_id: str | None = None,
    target_url: str = "https://ci.example.com/runs/7",
) -> CommitStatus:
    return CommitStatus(
        repository=RepositoryRef(
            external_id=external_id or str(project.id), full_name=project.full_name
        ),
        sha=SHA,
        context="lading/web",
        state=state,
        description="3 steps passed in 12 s",
        target_url=target_url,
        ref="main",
    )


def post(host: GitLabHost, sent: CommitStatus) -> None:
    asyncio.run(host.post_status(sent))


def refused(host: GitLabHost, sent: CommitStatus) -> HostError:
    with pytest.raises(HostError) as caught:
        post(host, sent)
    return caught.value


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (StatusState.PENDING, "pending"),
        (StatusState.RUNNING, "running"),
        (StatusState.SUCCESS, "success"),
        (StatusState.FAILURE, "failed"),
        (StatusState.ERROR, "failed"),
        (StatusState.CANCELLED, "canceled"),
    ],
)
def test_every_state_is_shown_as_gitlab_knows_it(
    double: GitLabDouble, project: Project, host: GitLabHost, state: StatusState, shown: str
) -> None:
    post(host, status(project, state))

    found = double.latest(project, SHA, "lading/web")
    assert found is not None
    assert (found.state, found.ref) == (shown, "main")
    assert found.description == "3 steps passed in 12 s"
    assert found.target_url == "https://ci.example.com/runs/7"


def test_a_status_costs_one_request(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    post(host, status(project))

    assert [(sent.method, sent.path) for sent in double.requests] == [
        ("POST", f"/api/v4/projects/{project.id}/statuses/{SHA}")
    ]


def test_a_project_may_go_by_its_name(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    post(host, status(project, external_id="acme/tools/web"))

    assert double.latest(project, SHA, "lading/web") is not None
    assert double.requests[0].path.startswith("/api/v4/projects/acme%2Ftools%2Fweb/")


def test_a_status_goes_forward(double: GitLabDouble, project: Project, host: GitLabHost) -> None:
    for state in (StatusState.PENDING, StatusState.RUNNING, StatusState.SUCCESS):
        post(host, status(project, state))

    assert [row.states for row in double.statuses] == [["pending", "running", "success"]]


@pytest.mark.parametrize("state", [StatusState.PENDING, StatusState.RUNNING])
def test_a_state_that_gitlab_already_shows_is_a_success(
    double: GitLabDouble, project: Project, host: GitLabHost, state: StatusState
) -> None:
    post(host, status(project, state))

    post(host, status(project, state))

    assert [sent.answered for sent in double.requests] == [201, 400, 200]


def test_a_state_that_gitlab_has_passed_is_a_success(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    post(host, status(project, StatusState.RUNNING))

    post(host, status(project, StatusState.PENDING))

    found = double.latest(project, SHA, "lading/web")
    assert found is not None
    assert found.states == ["running"]


def cannot_transition(double: GitLabDouble) -> None:
    message = 'Cannot transition status via :drop from :success (Reason(s): cannot via "drop")'
    double.fail_next(1, 400, {}, {"message": message})


def test_an_end_that_another_end_keeps_out_is_told_and_not_tried_again(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    post(host, status(project, StatusState.SUCCESS))
    cannot_transition(double)

    error = refused(host, status(project, StatusState.FAILURE))

    assert error.permanent
    assert "GitLab shows success for lading/web" in str(error)
    assert "refuses failed" in str(error)


def test_a_refused_step_with_nothing_to_show_is_told(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    cannot_transition(double)

    error = refused(host, status(project))

    assert error.permanent
    assert "GitLab shows no state" in str(error)


def test_a_host_that_fails_while_it_is_asked_for_the_present_state_is_tried_again(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    cannot_transition(double)
    double.fail_next(1, 500)

    assert not refused(host, status(project)).permanent


@pytest.mark.parametrize(
    "body", [b"{}", b"7", b"null", b'["x"]', b'[{"name": 7}]', b'[{"name": "lading/web"}]', b"<p>"]
)
def test_an_odd_answer_about_the_present_state_is_told(
    double: GitLabDouble, project: Project, host: GitLabHost, body: bytes
) -> None:
    cannot_transition(double)
    double.fail_next(1, 200, {"Content-Type": "application/json"}, body)

    refused(host, status(project))


def test_an_address_too_long_for_gitlab_is_left_out(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    post(host, status(project, target_url="https://ci.example.com/" + "x" * 300))

    found = double.latest(project, SHA, "lading/web")
    assert found is not None
    assert found.target_url is None


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_server_error_is_sent_once_and_worth_another_try(
    double: GitLabDouble, project: Project, host: GitLabHost, code: int
) -> None:
    double.fail_next(1, code)

    assert not refused(host, status(project)).permanent
    assert len(double.requests) == 1


@pytest.mark.parametrize("code", [403, 429])
def test_the_hosts_wish_to_wait_is_passed_on_at_once(
    double: GitLabDouble, project: Project, host: GitLabHost, code: int
) -> None:
    double.fail_next(1, code, {"Retry-After": "77"}, {"message": "Retry later"})
    started = time.monotonic()

    error = refused(host, status(project))

    assert (error.permanent, error.retry_after) == (False, 77)
    assert time.monotonic() - started < 2
    assert len(double.requests) == 1


def test_a_used_up_rate_limit_is_waited_for_until_its_reset(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    reset = str(int(NOW.timestamp()) + 45)
    double.fail_next(1, 429, {"RateLimit-Remaining": "0", "RateLimit-Reset": reset})

    error = refused(host, status(project))

    assert (error.permanent, error.retry_after) == (False, 45)


def test_an_earlier_answers_wish_is_not_taken_for_this_ones(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    double.fail_next(1, 429, {"Retry-After": "77"})
    refused(host, status(project))
    double.fail_next(1, 500)

    assert refused(host, status(project)).retry_after is None


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (401, (Refusal.CREDENTIAL, "expired or revoked")),
        (403, (Refusal.REPOSITORY, "scope `api`")),
        (404, (Refusal.REPOSITORY, "make it a member")),
        (422, (None, "accept")),
    ],
)
def test_what_only_a_person_can_mend_is_told_with_what_to_do(
    double: GitLabDouble,
    project: Project,
    host: GitLabHost,
    code: int,
    told: tuple[Refusal | None, str],
) -> None:
    double.fail_next(1, code)

    error = refused(host, status(project))

    means, says = told
    assert (error.permanent, error.refused) == (means is None, means)
    assert says in str(error)


def test_a_commit_that_is_gone_is_not_tried_again(double: GitLabDouble, host: GitLabHost) -> None:
    project = double.add_project("acme/api", commits=set())

    error = refused(host, status(project))

    assert error.permanent
    assert "404 Commit Not Found" in str(error)


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"[]", b"null", b"7", b"{}"])
def test_a_success_that_is_none_is_never_a_success(
    double: GitLabDouble, project: Project, host: GitLabHost, body: bytes
) -> None:
    double.fail_next(1, 200, {"Content-Type": "application/json"}, body)

    refused(host, status(project))


@pytest.mark.parametrize("code", [301, 302, 307])
def test_a_redirect_is_never_a_success(
    double: GitLabDouble, project: Project, host: GitLabHost, code: int
) -> None:
    double.fail_next(1, code, {"Location": "/users/sign_in"})

    refused(host, status(project))
    assert double.latest(project, SHA, "lading/web") is None


def test_a_host_that_hangs_is_given_up(
    double: GitLabDouble, project: Project, host: GitLabHost
) -> None:
    double.hang_next()
    started = time.monotonic()

    error = refused(host, status(project))

    assert not error.permanent
    assert time.monotonic() - started < 3
    post(host, status(project))


def test_a_host_that_is_not_there_is_worth_another_try(project: Project) -> None:
    error = refused(made("http://127.0.0.1:9", "glpat-x"), status(project))

    assert not error.permanent
    assert "could not be reached" in str(error)


def test_without_a_token_the_setting_is_named(project: Project) -> None:
    error = refused(made("http://127.0.0.1:9", None), status(project))

    assert error.permanent
    assert "hosts.gitlab.token" in str(error)


def check(host: GitLabHost) -> HostCheck:
    return asyncio.run(host.check())


def test_the_check_tells_whose_token_it_is(host: GitLabHost) -> None:
    found = check(host)

    assert found.ok
    assert "token of lading-bot" in found.message


def test_the_check_tells_a_wrong_token(served: tuple[GitLabDouble, str]) -> None:
    found = check(made(served[1], "glpat-wrong"))

    assert not found.ok
    assert "revoked" in found.message
    assert "hosts.gitlab.token" in found.fix


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}"])
def test_the_check_tells_an_address_that_is_no_gitlab(
    double: GitLabDouble, host: GitLabHost, body: bytes
) -> None:
    double.fail_next(1, 200, {"Content-Type": "application/json"}, body)

    assert not check(host).ok


def test_the_check_tells_a_missing_token() -> None:
    found = check(made("http://127.0.0.1:9", None))

    assert not found.ok
    assert "hosts.gitlab.token" in found.fix
