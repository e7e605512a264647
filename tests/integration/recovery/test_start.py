"""A start finds by itself what was missed while nobody was there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.config import GitHubSettings, Settings
from server.store import deliveries, repositories
from server.store.rows import DeliveryRow, Found
from tests.doubles.base import serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.integration.recovery.conftest import DEFINITION, SECRET
from tests.parts.git_server import Repository, git_server
from tests.parts.lading import Running, lading, settings


@pytest.fixture
def github() -> GitHubDouble:
    return GitHubDouble()


@pytest.fixture
def configured(tmp_path: Path, github: GitHubDouble) -> Iterator[Settings]:
    """A server whose own address does not change from start to start."""
    (tmp_path / "acme").mkdir()
    with serve(github.app) as api, git_server(tmp_path) as served:
        hosts = {
            "github": GitHubSettings(
                kind="github",
                webhook_secret=SecretStr(SECRET),
                token=SecretStr(github.token),
                api_url=api,
                url=served.url,
            )
        }
        none = f"unix://{tmp_path}/no-engine.sock"
        yield settings(tmp_path / "data", engine=none, hosts=hosts)


def arrived(server: Running) -> list[DeliveryRow]:
    """What was delivered, newest first."""
    return server.ask(deliveries.deliveries_page)


def test_a_delivery_that_nobody_answered_is_fetched_again_after_the_start(
    tmp_path: Path, github: GitHubDouble, configured: Settings
) -> None:
    repository = Repository(tmp_path / "acme", "web")
    web = github.add_repository("acme/web")
    first = repository.pushed({".lading.yml": DEFINITION})
    with lading(configured) as server:
        hook = github.add_hook("acme/web", f"{server.url}/webhooks/github")
        github.send(hook, github.push_delivery(web, sha=first, secret=SECRET))
        wait_until(lambda: len(arrived(server)) == 1, "it arrived", 10)
        server.decision(arrived(server)[0].id)

    second = repository.pushed({"a": "2"})
    missed = github.push_delivery(web, sha=second, before=first, secret=SECRET)
    github.send(hook, missed)
    assert github.sendings[-1].answered is None  # there is nobody

    with lading(configured) as server:
        hook.url = f"{server.url}/webhooks/github"
        wait_until(
            lambda: len(server.ask(deliveries.deliveries_page)) == 2, "it was sent again", 20
        )
        row = server.ask(deliveries.deliveries_page)[0]
        decision = server.decision(row.id)
        (known,) = server.ask(repositories.all_repositories)

        assert row.delivery_id == missed.headers["X-GitHub-Delivery"]
        assert server.delivery(row.id).found is Found.LISTED
        assert decision.sha == second
        wait_until(
            lambda: server.ask(repositories.all_repositories)[0].heads_at is not None,
            "heads are remembered from the start on",
            20,
        )
        assert known.full_name == "acme/web"
