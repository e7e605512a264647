"""Doubles of what no machine here can have: GitHub's and GitLab's own servers.

They are for tests only. Each holds what it is told (repositories, statuses), refuses what the real
one refuses, fails on order, and makes deliveries shaped and signed like the real one's:

    double = GitHubDouble()
    acme = double.add_repository("acme/web")
    with serve(double.app) as url:
        settings = GitHubSettings(kind="github", api_url=url, token=double.token, …)
        delivery = double.push_delivery(acme, sha=sha, secret="…")   # send it to Lading
        …
        assert double.latest("acme/web", sha, "lading/web").state == "success"
"""

from tests.doubles.base import Delivery, Double, Recorded, serve
from tests.doubles.github import GitHubDouble
from tests.doubles.gitlab import GitLabDouble

__all__ = ["Delivery", "Double", "GitHubDouble", "GitLabDouble", "Recorded", "serve"]
