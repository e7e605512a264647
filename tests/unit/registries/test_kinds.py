"""Kinds of registry: which is which, and what each wants."""

from __future__ import annotations

import pytest

from pipelines.references import is_write_once
from pipelines.registries.kinds import Account, KindError, kind_of, kinds

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("docker.io", "docker-hub"),
        ("ghcr.io", "ghcr"),
        ("registry.gitlab.com", "gitlab"),
        (ECR, "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "ecr"),
        ("registry.example.com:5000", "oci"),
        (f"{ECR}.evil.example", "oci"),
        ("ghcr.io.evil.example", "oci"),
    ],
)
def test_a_hosts_name_tells_the_kind(host: str, name: str) -> None:
    assert kind_of(host).name == name


def test_every_kind_can_be_named() -> None:
    assert set(kinds()) == {"docker-hub", "ecr", "ghcr", "gitlab", "harbor", "oci"}
    assert kind_of("harbor.example.com", "harbor").name == "harbor"
    with pytest.raises(KindError, match="one of docker-hub, ecr"):
        kind_of("ghcr.io", "quay")


@pytest.mark.parametrize(
    ("host", "kind", "username", "password", "told"),
    [
        ("ghcr.io", None, "ada", "github_pat_x", "fine-grained token cannot"),
        ("ghcr.io", None, "", "ghp_x", "classic token"),
        ("h.example", "harbor", "robot", "x", "single quotes"),
        (ECR, None, "AWS", "x", "ends after 12 hours"),
        (ECR, None, "AKIA", "", "access key"),
        ("h.example", "ecr", "AKIA", "x", "the host of an Amazon ECR registry is"),
    ],
)
def test_a_login_that_cannot_work_is_told_before_anybody_is_asked(
    host: str, kind: str | None, username: str, password: str, told: str
) -> None:
    account = Account(host=host, username=username, password=password)

    assert told in str(kind_of(host, kind).fault(account))


def test_a_login_that_can_work_has_no_fault() -> None:
    for host, kind in (
        ("ghcr.io", None),
        ("docker.io", None),
        ("h.example", "harbor"),
        (ECR, None),
    ):
        account = Account(host=host, username="ada", password="a-token")
        assert kind_of(host, kind).fault(account) is None
    assert kind_of(ECR).fault(Account(host=ECR)) is None


def test_a_password_is_in_no_text_about_its_account() -> None:
    account = Account(host="ghcr.io", username="ada", password="correct horse")

    assert "horse" not in f"{account} {account!r}"


@pytest.mark.parametrize("tag", ["sha-0123456789ab", "v1", "v1.2.3", "1.2.3", "1.2.3-rc.1"])
def test_tags_of_commits_and_versions_are_written_once(tag: str) -> None:
    assert is_write_once(tag)


@pytest.mark.parametrize("tag", ["latest", "production", "1", "1.2", "main", "vnext", "shared"])
def test_other_tags_may_be_moved(tag: str) -> None:
    assert not is_write_once(tag)
