"""The hosts' own lists of deliveries, and asking for one again, as GitHub and GitLab have them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from server.config import GitHubSettings, GitLabSettings
from server.hosts.github import GitHubHost
from server.hosts.gitlab import GitLabHost
from server.hosts.port import Host, HostError, Refusal, RepositoryRef, ToldDelivery
from tests.doubles import Delivery, GitHubDouble, GitLabDouble, serve
from tests.doubles.base import Hook, wait_until

SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
SECRET = "a secret of sixteen or more"
NOWHERE = "http://127.0.0.1:1/webhooks/forge"


@dataclass(kw_only=True)
class Forge:
    """A host with one repository, whose webhook leads to us."""

    double: GitHubDouble | GitLabDouble
    host: Host
    repository: RepositoryRef
    hook: Hook

    def push(self) -> Delivery:
        """What it would send."""
        if isinstance(self.double, GitHubDouble):
            web = self.double.repositories["acme/web"]
            return self.double.push_delivery(web, sha=SHA, secret=SECRET)
        project = next(iter(self.double.projects.values()))
        return self.double.push_delivery(project, sha=SHA, secret=SECRET)

    def told(
        self, *, url: str = NOWHERE, since: datetime | None = None, until: str | None = None
    ) -> list[ToldDelivery]:
        """What its list tells us."""
        since = since or datetime.now(UTC) - timedelta(days=1)
        return list(
            asyncio.run(
                self.host.told_deliveries(self.repository, url=url, since=since, until=until)
            )
        )

    def redeliver(self, wanted: ToldDelivery) -> None:
        """Ask for one again."""
        asyncio.run(self.host.redeliver(self.repository, wanted))


def id_of(delivery: Delivery) -> str:
    headers = delivery.headers
    return headers.get("X-GitHub-Delivery") or headers["Idempotency-Key"]


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[Forge]:
    if request.param == "github":
        double: GitHubDouble | GitLabDouble = GitHubDouble()
        assert isinstance(double, GitHubDouble)
        made = double.add_repository("acme/web").id
    else:
        double = GitLabDouble()
        made = double.add_project("acme/web").id
    hook = double.add_hook("acme/web", NOWHERE)
    table = {"token": double.token, "kind": request.param}
    with serve(double.app) as url:
        host: Host
        if request.param == "github":
            host = GitHubHost("forge", GitHubSettings.model_validate({**table, "api_url": url}))
        else:
            host = GitLabHost("forge", GitLabSettings.model_validate({**table, "url": url}))
        ref = RepositoryRef(external_id=str(made), full_name="acme/web")
        yield Forge(double=double, host=host, repository=ref, hook=hook)


def test_what_failed_and_what_arrived_is_told_newest_first_under_its_id(forge: Forge) -> None:
    unanswered, refused, taken = (forge.push() for _ in range(3))
    forge.double.lose(forge.hook, unanswered)
    forge.double.lose(forge.hook, refused, answered=503)
    forge.double.lose(forge.hook, taken, answered=202)

    told = forge.told()

    assert [(one.delivery_id, one.failed) for one in told] == [
        (id_of(taken), False),
        (id_of(refused), True),
        (id_of(unanswered), True),
    ]


def test_every_page_is_read_and_what_was_told_before_is_left_out(forge: Forge) -> None:
    for _ in range(130):
        forge.double.lose(forge.hook, forge.push())
    all_ = forge.told()
    assert len(all_) == 130

    newer = forge.told(until=all_[110].handle)

    assert newer == all_[:110]


def test_what_is_asked_for_is_sent_again_under_the_same_id(forge: Forge) -> None:
    delivery = forge.push()
    forge.double.lose(forge.hook, delivery)

    forge.redeliver(forge.told()[0])

    double = forge.double
    wait_until(lambda: len(double.sendings) == 2, "it was sent again", 10)
    assert double.sendings[1].delivery == delivery


def test_the_webhook_is_looked_for_once(forge: Forge) -> None:
    forge.told()
    forge.told()

    assert [one.path.endswith("/hooks") for one in forge.double.requests].count(True) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/webhooks/other", "http://ci.example/x"])
def test_a_repository_without_a_webhook_that_leads_here_is_told_for_good(
    forge: Forge, url: str
) -> None:
    with pytest.raises(HostError, match=r"no webhook of acme/web leads to .*server\.url") as caught:
        forge.told(url=url)

    assert caught.value.permanent


def test_the_address_of_a_webhook_may_be_written_differently(forge: Forge) -> None:
    forge.hook.url = "HTTP://127.0.0.1:1/webhooks/forge/"

    assert forge.told() == []


def test_a_token_that_may_not_list_webhooks_is_told_with_what_it_needs(forge: Forge) -> None:
    forge.double.may_list_hooks = False

    with pytest.raises(HostError, match=r"acme/web.*give it") as caught:
        forge.told()

    assert (caught.value.permanent, caught.value.refused) == (False, Refusal.REPOSITORY)


def test_a_revoked_token_is_the_whole_hosts_trouble(forge: Forge) -> None:
    forge.double.token = "another"

    with pytest.raises(HostError) as caught:
        forge.told()

    assert caught.value.refused is Refusal.CREDENTIAL


def test_a_list_that_is_limited_tells_how_long_to_wait(forge: Forge) -> None:
    forge.double.fail_next(1, 429, {"Retry-After": "77"})

    with pytest.raises(HostError) as caught:
        forge.told()

    assert caught.value.retry_after == 77


def test_github_is_asked_for_nothing_older_than_its_window() -> None:
    double = GitHubDouble()
    made = double.add_repository("acme/web")
    hook = double.add_hook("acme/web", NOWHERE)
    with serve(double.app) as url:
        table = {"token": double.token, "kind": "github", "api_url": url}
        host = GitHubHost("forge", GitHubSettings.model_validate(table))
        ref = RepositoryRef(external_id=str(made.id), full_name="acme/web")
        forge = Forge(double=double, host=host, repository=ref, hook=hook)
        forge.double.lose(hook, forge.push())

        told = forge.told(since=datetime.fromtimestamp(time.time() + 2, UTC))

    assert told == []
