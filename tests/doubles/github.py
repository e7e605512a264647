"""A double of GitHub's API, and the deliveries that GitHub would send.

Beyond the published description it refuses what the real one refuses: unknown keys, descriptions
over 140 characters, more than 1000 statuses for a commit and context, commits that are not there.
"""

from __future__ import annotations

import hmac
import itertools
import json
import re
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from openapi_core.exceptions import OpenAPIError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.doubles import samples
from tests.doubles.base import Delivery, Double, Hook, Refusal, Sending, wait_until

ZERO = "0" * 40
MAX_DESCRIPTION = 140
MAX_STATUSES = 1000
STRANGER = 666
"""The id of somebody who may not write anywhere, unless a test lets them."""
STATUS_KEYS = {"state", "target_url", "description", "context"}


@dataclass(kw_only=True)
class Repository:
    """A repository as the double knows it."""

    id: int
    full_name: str
    private: bool = False
    default_branch: str = "main"
    commits: set[str] | None = None
    """The commits it has; None: every one."""

    @property
    def owner(self) -> str:
        return self.full_name.split("/")[0]

    @property
    def name(self) -> str:
        return self.full_name.split("/")[1]


@dataclass(frozen=True, kw_only=True)
class Status:
    """A status that was posted."""

    id: int
    repository: str
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    at: float = field(default_factory=time.time)


class GitHubDouble(Double):
    """GitHub's API for statuses and webhooks' deliveries, with one known token."""

    description = "github.json"

    def __init__(self, *, token: str = "ghp_double", login: str = "lading-bot") -> None:
        super().__init__()
        self.token = token
        self.login = login
        self.scopes = "repo:status"
        """Of the token, as classic tokens tell them."""
        self.may_write = True
        self.people: dict[str, int] = {}
        """Who has a name by now, by id; whoever is not here has the id that deliveries tell."""
        self.permissions: dict[int, str] = {}
        """What somebody may do in every repository, by id; `read` where nothing is said."""
        self.repositories: dict[str, Repository] = {}
        self.statuses: list[Status] = []
        self.max_statuses = MAX_STATUSES
        self._ids = itertools.count(1_296_269)
        self._remaining = 5000

    def add_repository(
        self,
        full_name: str,
        *,
        private: bool = False,
        default_branch: str = "main",
        commits: set[str] | None = None,
    ) -> Repository:
        """Make a repository known; without `commits` it has every commit."""
        made = Repository(
            id=next(self._ids),
            full_name=full_name,
            private=private,
            default_branch=default_branch,
            commits=commits,
        )
        self.repositories[full_name.lower()] = made
        return made

    def history(self, full_name: str, sha: str, context: str) -> list[Status]:
        """Every status of a commit and context, oldest first."""
        wanted = (full_name.lower(), sha, context.lower())
        return [
            status
            for status in list(self.statuses)
            if (status.repository.lower(), status.sha, status.context.lower()) == wanted
        ]

    def latest(self, full_name: str, sha: str, context: str) -> Status | None:
        """The status that GitHub would show."""
        return next(iter(self.history(full_name, sha, context)[::-1]), None)

    def wait_for(
        self, full_name: str, sha: str, context: str, state: str, timeout: float = 30.0
    ) -> Status:
        """The newest status, once it has this state."""

        def reached() -> bool:
            found = self.latest(full_name, sha, context)
            return found is not None and found.state == state

        seen = f"{context} is {state} on {sha[:12]}"
        wait_until(reached, seen, timeout)
        found = self.latest(full_name, sha, context)
        assert found is not None
        return found

    # -- the API ---------------------------------------------------------------------------

    def extra_headers(self) -> dict[str, str]:
        self._remaining = max(0, self._remaining - 1)
        return {
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": str(self._remaining),
            "X-RateLimit-Reset": str(int(time.time()) + 3600),
            "X-OAuth-Scopes": self.scopes,
        }

    def authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or token != self.token:
            raise Refusal(401, {"message": "Bad credentials", "status": "401"})

    def refused(self, error: OpenAPIError) -> Refusal:
        said = {"message": f"Validation Failed: {error}: {error.__cause__}"}
        return Refusal(422, {**said, "documentation_url": "https://docs.github.com/rest"})

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Response:  # noqa: ANN401, ARG002
        if path == "/user":
            return JSONResponse(self._user())
        if hooks := re.fullmatch(r"/repos/([^/]+)/([^/]+)/hooks(?:/(\d+)/deliveries(.*))?", path):
            return self._about_hooks(query, *hooks.groups())
        if asked := re.fullmatch(r"/repos/([^/]+/[^/]+)/collaborators/([^/]+)/permission", path):
            return self._permission(*asked.groups())
        matched = re.fullmatch(
            r"/repos/([^/]+)/([^/]+)/(?:statuses/([^/]+)|commits/([^/]+)/statuses)", path
        )
        assert matched is not None, f"the description has {path}, the double has not"
        owner, name, posted, listed = matched.groups()
        repository = self.repositories.get(f"{owner}/{name}".lower())
        if repository is None:
            raise Refusal(404, {"message": "Not Found", "status": "404"})
        if posted is not None:
            return JSONResponse(self._shown(self._take(repository, posted, body)), 201)
        mine = [row for row in self.statuses if row.repository == repository.full_name]
        return JSONResponse([self._shown(row) for row in mine[::-1] if row.sha == listed])

    def _permission(self, repository: str, name: str) -> Response:
        if repository.lower() not in self.repositories:
            raise Refusal(404, {"message": "Not Found", "status": "404"})
        told = self._example(
            "repository-collaborator-permission-response-if-user-has-admin-permissions"
        )
        person = self.people.get(name) or int(name.removeprefix("person-"))
        permission = self.permissions.get(person, "read")
        user = {**told["user"], "id": person, "login": name, "role_name": permission}
        return JSONResponse(
            {**told, "permission": permission, "role_name": permission, "user": user}
        )

    def _about_hooks(
        self, query: dict[str, str], owner: str, name: str, number: str | None, rest: str | None
    ) -> Response:
        if f"{owner}/{name}".lower() not in self.repositories:
            raise Refusal(404, {"message": "Not Found", "status": "404"})
        if not self.may_list_hooks:
            message = "Resource not accessible by personal access token"
            raise Refusal(403, {"message": message, "status": "403"})
        mine = [hook for hook in self.hooks if hook.owner.lower() == f"{owner}/{name}".lower()]
        if number is None:
            return JSONResponse([self._shown_hook(hook) for hook in mine])
        hook = next((hook for hook in mine if hook.id == int(number)), None)
        if hook is None:
            raise Refusal(404, {"message": "Not Found", "status": "404"})
        if rest:
            wanted = int(rest.removeprefix("/").removesuffix("/attempts"))
            self.send_again(next(one for one in self.sendings_of(hook) if one.id == wanted))
            return JSONResponse({}, 202)
        return self._page(query, self.sendings_of(hook), f"/repos/{owner}/{name}/hooks/{number}")

    def _page(self, query: dict[str, str], rows: list[Sending], path: str) -> Response:
        """A page of a webhook's list; the cursor is the id of the next one."""
        size = int(query.get("per_page", "30"))
        start = next((i for i, one in enumerate(rows) if str(one.id) == query.get("cursor")), 0)
        response = JSONResponse([self._shown_sending(one) for one in rows[start : start + size]])
        if len(rows) > start + size:
            more = urllib.parse.urlencode({"per_page": size, "cursor": rows[start + size].id})
            response.headers["Link"] = f'<{self.url}{path}/deliveries?{more}>; rel="next"'
        return response

    def _shown_hook(self, hook: Hook) -> dict[str, Any]:
        example = self._example("hook-items")[0]
        return {**example, "id": hook.id, "config": {**example["config"], "url": hook.url}}

    def _shown_sending(self, one: Sending) -> dict[str, Any]:
        taken = one.answered is not None and 200 <= one.answered < 300
        refused = f"Invalid HTTP Response: {one.answered}"
        return {
            **self._example("hook-delivery-items")[0],
            "id": one.id,
            "guid": one.delivery.headers["X-GitHub-Delivery"],
            "delivered_at": datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "redelivery": one.again,
            "status": "OK" if taken else refused if one.answered else "failed to connect to host",
            "status_code": one.answered or 502,
            "event": one.delivery.headers["X-GitHub-Event"],
            "throttled_at": None,
        }

    def _take(self, repository: Repository, sha: str, body: dict[str, Any]) -> Status:
        if not self.may_write:
            message = "Resource not accessible by personal access token"
            raise Refusal(403, {"message": message, "status": "403"})
        self._obey_rules(repository, sha, body)
        status = Status(
            id=next(self._ids),
            repository=repository.full_name,
            sha=sha,
            context=body.get("context", "default"),
            state=body["state"],
            description=body.get("description"),
            target_url=body.get("target_url"),
        )
        self.statuses.append(status)
        return status

    def _obey_rules(self, repository: Repository, sha: str, body: dict[str, Any]) -> None:
        context = body.get("context", "default")
        problem = None
        if unknown := body.keys() - STATUS_KEYS:
            problem = f"unknown keys: {', '.join(sorted(unknown))}"
        elif len(body.get("description") or "") > MAX_DESCRIPTION:
            problem = "description is too long (maximum is 140 characters)"
        elif repository.commits is not None and sha not in repository.commits:
            problem = f"No commit found for SHA: {sha}"
        elif len(self.history(repository.full_name, sha, context)) >= self.max_statuses:
            problem = "This SHA and context has reached the maximum number of statuses."
        if problem:
            raise Refusal(422, {"message": f"Validation Failed: {problem}", "status": "422"})

    def _user(self) -> dict[str, Any]:
        example = self._example("private-user-response-with-public-and-private-profile-information")
        return {**example, "login": self.login, "user_view_type": "private"}

    def _shown(self, status: Status) -> dict[str, Any]:
        return {
            **self._example("status"),
            "id": status.id,
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
        }

    def _example(self, name: str) -> Any:  # noqa: ANN401  (any JSON value)
        return (self.openapi.spec / "components" / "examples" / name / "value").read_value()

    # -- the deliveries --------------------------------------------------------------------

    def push_delivery(
        self,
        repository: Repository,
        *,
        sha: str,
        secret: str,
        ref: str = "refs/heads/main",
        before: str = ZERO,
        message: str = "Change the greeting",
        form: bool = False,
        delivery_id: str | None = None,
    ) -> Delivery:
        """A push to a branch, or with `ref` `refs/tags/…` to a tag; all-zero `sha` deletes it."""
        body = samples.body("github", "push")
        commit = {**body["head_commit"], "id": sha, "message": message}
        body.update(
            ref=ref,
            before=before,
            after=sha,
            created=before == ZERO,
            deleted=sha == ZERO,
            head_commit=None if sha == ZERO else commit,
            commits=[] if sha == ZERO or ref.startswith("refs/tags/") else [commit],
            repository=_repository(body["repository"], repository),
        )
        return self.delivery("push", body, secret=secret, form=form, delivery_id=delivery_id)

    def pull_request_delivery(
        self,
        repository: Repository,
        *,
        number: int,
        sha: str,
        base_sha: str,
        secret: str,
        action: str = "opened",
        branch: str = "main",
        source_branch: str = "changes",
        fork: Repository | None = None,
        author: int = STRANGER,
        sender: int | None = None,
        delivery_id: str | None = None,
    ) -> Delivery:
        """A pull request into `branch`, from `fork` or from the repository itself.

        `author` is the id of who opened it, `sender` of who moved it now; they are named after it.
        """
        body = samples.body("github", "pull_request_opened")
        pull = body["pull_request"]
        source = _repository(pull["head"]["repo"], fork or repository)
        target = _repository(pull["base"]["repo"], repository)
        pull.update(number=number, state="closed" if action == "closed" else "open")
        pull["head"].update(sha=sha, ref=source_branch, repo=source)
        pull["base"].update(sha=base_sha, ref=branch, repo=target)
        pull["user"] = _person(pull["user"], author)
        body["sender"] = _person(body["sender"], sender or author)
        body.update(action=action, number=number)
        body["repository"] = _repository(body["repository"], repository)
        return self.delivery("pull_request", body, secret=secret, delivery_id=delivery_id)

    def ping_delivery(self, repository: Repository, *, secret: str) -> Delivery:
        """What GitHub sends when a webhook is made."""
        body = samples.body("github", "ping")
        body["repository"] = _repository(body["repository"], repository)
        return self.delivery("ping", body, secret=secret)

    def delivery(
        self,
        event: str,
        body: dict[str, Any],
        *,
        secret: str,
        form: bool = False,
        delivery_id: str | None = None,
    ) -> Delivery:
        """Any body, signed; every delivery has an id of its own unless one is given."""
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        headers = samples.headers("github", "push")
        if form:
            raw = b"payload=" + urllib.parse.quote_plus(raw).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        digests = {name: hmac.new(secret.encode(), raw, name) for name in ("sha1", "sha256")}
        headers.update(
            {
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": delivery_id or str(uuid.uuid4()),
                "X-Hub-Signature": f"sha1={digests['sha1'].hexdigest()}",
                "X-Hub-Signature-256": f"sha256={digests['sha256'].hexdigest()}",
            }
        )
        return Delivery(headers=headers, body=raw)


def _person(sample: dict[str, Any], person: int) -> dict[str, Any]:
    return {**sample, "id": person, "login": f"person-{person}"}


def _repository(sample: dict[str, Any], wanted: Repository) -> dict[str, Any]:
    page = f"https://github.com/{wanted.full_name}"
    return {
        **sample,
        "id": wanted.id,
        "name": wanted.name,
        "full_name": wanted.full_name,
        "private": wanted.private,
        "default_branch": wanted.default_branch,
        "owner": {**sample["owner"], "login": wanted.owner},
        "html_url": page,
        "clone_url": f"{page}.git",
    }
