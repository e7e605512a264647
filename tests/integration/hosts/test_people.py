"""Who may write, as the hosts tell it of a person's id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from server.config import GitHubSettings, GitLabSettings, GitSettings
from server.hosts.git import GitHost
from server.hosts.github import GitHubHost
from server.hosts.gitlab import GitLabHost
from server.hosts.port import Host, HostError, Person, RepositoryRef
from tests.doubles.base import serve
from tests.doubles.github import GitHubDouble
from tests.doubles.gitlab import GitLabDouble

ADA = Person(id="7", name="person-7")


def may_write(host: Host, repository: RepositoryRef, person: Person = ADA) -> bool:
    return asyncio.run(host.may_write(repository, person))


@pytest.fixture(scope="module")
def github() -> Iterator[tuple[GitHubDouble, GitHubHost, RepositoryRef]]:
    double = GitHubDouble()
    web = double.add_repository("acme/web")
    with serve(double.app) as url:
        settings = GitHubSettings(kind="github", token=SecretStr(double.token), api_url=url)
        host = GitHubHost("github", settings)
        yield double, host, RepositoryRef(external_id=str(web.id), full_name=web.full_name)


@pytest.fixture(scope="module")
def gitlab() -> Iterator[tuple[GitLabDouble, GitLabHost, RepositoryRef]]:
    double = GitLabDouble()
    web = double.add_project("acme/web")
    with serve(double.app) as url:
        settings = GitLabSettings(kind="gitlab", token=SecretStr(double.token), url=url)
        host = GitLabHost("gitlab", settings)
        yield double, host, RepositoryRef(external_id=str(web.id), full_name=web.full_name)


@pytest.mark.parametrize(
    ("permission", "may"), [("admin", True), ("write", True), ("read", False), ("none", False)]
)
def test_github_tells_by_the_permission(
    github: tuple[GitHubDouble, GitHubHost, RepositoryRef], permission: str, may: bool
) -> None:
    double, host, repository = github
    double.permissions = {7: permission}

    assert may_write(host, repository) is may


def test_who_has_taken_over_a_name_at_github_has_not_taken_over_its_right(
    github: tuple[GitHubDouble, GitHubHost, RepositoryRef],
) -> None:
    double, host, repository = github
    double.permissions, double.people = {8: "admin"}, {"person-7": 8}

    assert not may_write(host, repository)
    double.people = {}


def test_a_name_cannot_lead_to_another_place_of_the_api(
    github: tuple[GitHubDouble, GitHubHost, RepositoryRef],
) -> None:
    double, host, repository = github
    double.permissions, double.people = {7: "admin"}, {}
    double.requests.clear()

    assert not may_write(host, repository, Person(id="7", name="x/../person-7"))
    assert double.requests == []


@pytest.mark.parametrize(
    ("role", "may"), [(50, True), (30, True), (20, False), (5, False), (None, False)]
)
def test_gitlab_tells_by_the_role(
    gitlab: tuple[GitLabDouble, GitLabHost, RepositoryRef], role: int | None, may: bool
) -> None:
    double, host, repository = gitlab
    double.roles = {} if role is None else {7: role}

    assert may_write(host, repository) is may


def test_a_host_that_does_not_answer_is_an_error_and_no_answer(
    gitlab: tuple[GitLabDouble, GitLabHost, RepositoryRef],
) -> None:
    _, _, repository = gitlab
    settings = GitLabSettings(kind="gitlab", token=SecretStr("wrong"), url="http://127.0.0.1:9")

    with pytest.raises(HostError):
        may_write(GitLabHost("gitlab", settings), repository)


def test_plain_git_knows_nobody() -> None:
    host = GitHost("git", GitSettings(kind="git", url="/srv/git"))

    assert not may_write(host, RepositoryRef(external_id="web", full_name="web"))
