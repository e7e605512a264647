"""The doubles refuse what the real hosts refuse, and send what the real hosts send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from pipelines.events import Event, EventKind
from server.config import GitHubSettings, GitLabSettings
from server.hosts.github import GitHubHost
from server.hosts.gitlab import GitLabHost
from server.hosts.port import Host, Irrelevant
from tests.doubles import Delivery, GitHubDouble, GitLabDouble, samples, serve

SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
BASE = "95790bf891e76fee5e1747ab589903a6a1f80f22"
ZERO = "0" * 40
SECRET = "a secret of sixteen or more"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GITHUB_STATUS = f"/repos/acme/web/statuses/{SHA}"
GITLAB_STATUS = f"/api/v4/projects/15/statuses/{SHA}"


@pytest.fixture
def github(served_github: tuple[GitHubDouble, httpx2.Client]) -> tuple[GitHubDouble, httpx2.Client]:
    served_github[0].requests.clear()
    served_github[0].statuses.clear()
    return served_github


@pytest.fixture(scope="module")
def served_github() -> Iterator[tuple[GitHubDouble, httpx2.Client]]:
    double = GitHubDouble()
    double.add_repository("acme/web")
    headers = {"Authorization": f"token {double.token}"}
    with serve(double.app) as url, httpx2.Client(base_url=url, headers=headers) as client:
        yield double, client


@pytest.fixture
def gitlab(served_gitlab: tuple[GitLabDouble, httpx2.Client]) -> tuple[GitLabDouble, httpx2.Client]:
    served_gitlab[0].requests.clear()
    served_gitlab[0].statuses.clear()
    return served_gitlab


@pytest.fixture(scope="module")
def served_gitlab() -> Iterator[tuple[GitLabDouble, httpx2.Client]]:
    double = GitLabDouble()
    double.add_project("acme/web")
    headers = {"PRIVATE-TOKEN": double.token}
    with serve(double.app) as url, httpx2.Client(base_url=url, headers=headers) as client:
        yield double, client


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"state": "running"},
        {"state": 7},
        {"state": "success", "description": 7},
        {"state": "success", "description": "x" * 141},
        {"state": "success", "colour": "green"},
        [],
    ],
)
def test_github_refuses_a_status_that_is_not_as_described(
    github: tuple[GitHubDouble, httpx2.Client], wrong: object
) -> None:
    double, client = github

    assert client.post(GITHUB_STATUS, json=wrong).status_code == 422
    assert double.statuses == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"state": "error"},
        {"state": "success", "description": "x" * 256},
        {"state": "success", "target_url": "ftp://x"},
        {"state": "success", "colour": "green"},
        [],
    ],
)
def test_gitlab_refuses_a_status_that_is_not_as_described(
    gitlab: tuple[GitLabDouble, httpx2.Client], wrong: object
) -> None:
    double, client = gitlab

    assert client.post(GITLAB_STATUS, json=wrong).status_code == 400
    assert double.statuses == []


def test_github_takes_a_status_and_lists_it(github: tuple[GitHubDouble, httpx2.Client]) -> None:
    _, client = github

    made = client.post(GITHUB_STATUS, json={"state": "success", "context": "lading/web"})

    listed = client.get(f"/repos/acme/web/commits/{SHA}/statuses").json()
    assert (made.status_code, [row["state"] for row in listed]) == (201, ["success"])


def test_github_shows_the_newest_status_first(github: tuple[GitHubDouble, httpx2.Client]) -> None:
    double, client = github
    for state in ("pending", "success"):
        client.post(GITHUB_STATUS, json={"state": state, "context": "Lading/web"})

    found = double.latest("acme/web", SHA, "lading/web")
    assert found is not None
    assert found.state == "success"


@pytest.mark.parametrize(
    ("states", "answers"),
    [
        (["pending", "running", "success"], [201, 201, 201]),
        (["pending", "pending"], [201, 400]),
        (["running", "pending"], [201, 400]),
        (["running", "running"], [201, 400]),
        (["success", "pending"], [201, 201]),
    ],
)
def test_gitlab_goes_forward_only(
    gitlab: tuple[GitLabDouble, httpx2.Client], states: list[str], answers: list[int]
) -> None:
    _, client = gitlab

    got = [client.post(GITLAB_STATUS, json={"state": s, "name": "x"}) for s in states]

    assert [answer.status_code for answer in got] == answers
    for answer in got:
        if answer.status_code == 400:
            assert answer.json()["message"].startswith("Cannot transition status via :")


def test_a_wrong_token_is_refused(
    github: tuple[GitHubDouble, httpx2.Client], gitlab: tuple[GitLabDouble, httpx2.Client]
) -> None:
    wrong = {"Authorization": "token no", "PRIVATE-TOKEN": "no"}

    assert github[1].get("/user", headers=wrong).status_code == 401
    assert gitlab[1].get("/api/v4/user", headers=wrong).status_code == 401


def test_what_is_not_described_is_not_there(
    github: tuple[GitHubDouble, httpx2.Client], gitlab: tuple[GitLabDouble, httpx2.Client]
) -> None:
    assert github[1].get("/repos/acme/web/secrets").status_code == 404
    assert gitlab[1].get("/api/v4/projects").status_code == 404


def test_failures_come_on_order_and_are_recorded(
    github: tuple[GitHubDouble, httpx2.Client],
) -> None:
    double, client = github
    double.fail_next(2, 503, {"Retry-After": "3"}, {"message": "no"})

    answers = [client.get("/user") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert [sent.answered for sent in double.requests] == [503, 503, 200]


def test_a_hang_ends_with_the_client(github: tuple[GitHubDouble, httpx2.Client]) -> None:
    double, client = github
    double.hang_next()

    with pytest.raises(httpx2.ReadTimeout):
        client.get("/user", timeout=0.1)

    assert client.get("/user").status_code == 200
    assert [sent.answered for sent in double.requests] == [None, 200]


def keys(node: object, path: str = "") -> set[str]:
    """The paths of every key in an object."""
    if not isinstance(node, dict):
        return set()
    own = {f"{path}.{key}" for key in node}
    return own.union(*(keys(value, f"{path}.{key}") for key, value in node.items()))


def event(host: Host, delivery: Delivery) -> Event | Irrelevant:
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    host.verify(headers, delivery.body, datetime.now(UTC))
    return host.read(headers, host.payload(headers, delivery.body))


@pytest.fixture(scope="module")
def github_host() -> GitHubHost:
    table = {"kind": "github", "webhook_secret": SECRET}
    return GitHubHost("github", GitHubSettings.model_validate(table))


@pytest.fixture(scope="module")
def gitlab_host() -> GitLabHost:
    table = {"kind": "gitlab", "webhook_secret": SECRET, "signing_token": SIGNING}
    return GitLabHost("gitlab", GitLabSettings.model_validate(table))


@pytest.mark.parametrize("form", [False, True])
def test_githubs_push_is_taken_by_our_host(github_host: GitHubHost, form: bool) -> None:
    double = GitHubDouble()
    made = double.push_delivery(
        double.add_repository("acme/web"), sha=SHA, secret=SECRET, form=form, before=BASE
    )

    found = event(github_host, made)

    assert isinstance(found, Event)
    assert (found.kind, found.repository, found.sha) == (EventKind.PUSH, "acme/web", SHA)
    assert (found.branch, found.before, found.title) == ("main", BASE, "Change the greeting")


def test_githubs_pull_request_from_a_fork_is_taken_by_our_host(github_host: GitHubHost) -> None:
    double = GitHubDouble()
    web, fork = double.add_repository("acme/web"), double.add_repository("eve/web")
    made = double.pull_request_delivery(
        web, number=7, sha=SHA, base_sha=BASE, secret=SECRET, fork=fork
    )

    found = event(github_host, made)

    assert isinstance(found, Event)
    assert (found.pull_request, found.sha, found.before) == (7, SHA, BASE)
    assert (found.ref, found.from_fork) == ("refs/pull/7/head", True)


def test_githubs_pull_request_from_the_same_repository_is_no_fork(github_host: GitHubHost) -> None:
    double = GitHubDouble()
    web = double.add_repository("acme/web")

    found = event(
        github_host,
        double.pull_request_delivery(web, number=7, sha=SHA, base_sha=BASE, secret=SECRET),
    )

    assert isinstance(found, Event)
    assert not found.from_fork


def test_githubs_tag_deletion_and_ping_are_taken_by_our_host(github_host: GitHubHost) -> None:
    double = GitHubDouble()
    web = double.add_repository("acme/web")
    tag = double.push_delivery(web, sha=SHA, secret=SECRET, ref="refs/tags/v1.0.0")
    gone = double.push_delivery(web, sha=ZERO, before=BASE, secret=SECRET)

    found = event(github_host, tag)

    assert isinstance(found, Event)
    assert (found.kind, found.tag) == (EventKind.TAG, "v1.0.0")
    assert isinstance(event(github_host, gone), Irrelevant)
    assert isinstance(event(github_host, double.ping_delivery(web, secret=SECRET)), Irrelevant)


@pytest.mark.parametrize("by", [{"secret": SECRET}, {"signing_token": SIGNING}])
def test_gitlabs_deliveries_are_taken_by_our_host(
    gitlab_host: GitLabHost, by: dict[str, Any]
) -> None:
    double = GitLabDouble()
    web, fork = double.add_project("acme/web"), double.add_project("eve/web")
    push = double.push_delivery(web, sha=SHA, before=BASE, **by)
    tag = double.push_delivery(web, sha=SHA, ref="refs/tags/v1", **by)
    gone = double.push_delivery(web, sha=ZERO, before=BASE, **by)
    request = double.merge_request_delivery(web, number=7, sha=SHA, fork=fork, **by)

    found = [event(gitlab_host, made) for made in (push, tag, request)]

    kinds = [one.kind for one in found if isinstance(one, Event)]
    assert kinds == [EventKind.PUSH, EventKind.TAG, EventKind.PULL_REQUEST]
    assert isinstance(found[2], Event)
    assert found[2].from_fork
    assert isinstance(event(gitlab_host, gone), Irrelevant)


def made_by_github() -> dict[str, Delivery]:
    double = GitHubDouble()
    web = double.add_repository("acme/web")
    return {
        "push": double.push_delivery(web, sha=SHA, secret=SECRET, before=BASE),
        "pull_request_opened": double.pull_request_delivery(
            web, number=7, sha=SHA, base_sha=BASE, secret=SECRET
        ),
        "ping": double.ping_delivery(web, secret=SECRET),
    }


def made_by_gitlab() -> dict[str, Delivery]:
    double = GitLabDouble()
    web = double.add_project("acme/web")
    return {
        "push": double.push_delivery(web, sha=SHA, secret=SECRET, before=BASE),
        "tag_push": double.push_delivery(web, sha=SHA, secret=SECRET, ref="refs/tags/v1"),
        "push_branch_deleted": double.push_delivery(web, sha=ZERO, secret=SECRET, before=BASE),
        "merge_request_open": double.merge_request_delivery(web, number=7, sha=SHA, secret=SECRET),
    }


@pytest.mark.parametrize(
    ("kind", "make", "host"),
    [
        ("github", made_by_github, GitHubHost("x", GitHubSettings(kind="github"))),
        ("gitlab", made_by_gitlab, GitLabHost("x", GitLabSettings(kind="gitlab"))),
    ],
)
def test_a_made_delivery_has_the_shape_of_its_sample(
    kind: str, make: Callable[[], dict[str, Delivery]], host: Host
) -> None:
    for case, delivery in make().items():
        body: dict[str, Any] = host.payload({}, delivery.body)
        sample = samples.body(kind, case)
        missing = keys(sample) - keys(body)
        extra = keys(body) - keys(sample)
        assert not missing, f"{case} lacks {sorted(missing)}"
        assert not extra, f"{case} has {sorted(extra)} beyond its sample"
        assert samples.headers(kind, case).keys() <= delivery.headers.keys()
