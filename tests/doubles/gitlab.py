"""A double of GitLab's API, and the deliveries that GitLab would send.

Beyond the description it has GitLab's state machine: a pending or running status of a commit, ref
and name goes forward only, and any other step is 400 "Cannot transition status".
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from openapi_core.exceptions import OpenAPIError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.doubles import samples
from tests.doubles.base import Delivery, Double, Refusal, Sending, wait_until

ZERO = "0" * 40
STRANGER = 666
"""The id of somebody who is no member anywhere, unless a test makes them one."""
STATUS_KEYS = {
    *("state", "ref", "name", "context", "target_url", "description", "coverage", "pipeline_id")
}
FORBIDDEN = {("pending", "pending"), ("running", "running"), ("running", "pending")}
"""(from, to) steps of an open status that GitLab refuses."""
VERBS = {"pending": "enqueue", "running": "run"}
OPEN = ("pending", "running")


@dataclass(kw_only=True)
class Project:
    """A project as the double knows it."""

    id: int
    full_name: str
    private: bool = True
    default_branch: str = "main"
    commits: set[str] | None = None
    """The commits it has; None: every one."""


@dataclass(kw_only=True)
class Status:
    """A status, in the state it has come to."""

    id: int
    project: int
    sha: str
    ref: str | None
    name: str
    state: str
    description: str | None
    target_url: str | None
    states: list[str]
    """Every state it has had, oldest first."""


class GitLabDouble(Double):
    """GitLab's API for statuses and webhooks' events, with one known token."""

    description = "gitlab.json"

    def __init__(self, *, token: str = "glpat-double", username: str = "lading-bot") -> None:
        super().__init__()
        self.token = token
        self.username = username
        self.may_write = True
        self.roles: dict[int, int] = {}
        """The access level of the members of every project, by their ids."""
        self.resends_left = 5
        """GitLab allows five in a minute."""
        self.projects: dict[int, Project] = {}
        self.statuses: list[Status] = []
        self._ids = itertools.count(15)

    def add_project(
        self,
        full_name: str,
        *,
        private: bool = True,
        default_branch: str = "main",
        commits: set[str] | None = None,
    ) -> Project:
        """Make a project known; without `commits` it has every commit."""
        made = Project(
            id=next(self._ids),
            full_name=full_name,
            private=private,
            default_branch=default_branch,
            commits=commits,
        )
        self.projects[made.id] = made
        return made

    def latest(self, project: Project, sha: str, name: str) -> Status | None:
        """The status that GitLab would show, whatever its ref."""
        rows = [row for row in list(self.statuses) if row.project == project.id]
        return next((row for row in rows[::-1] if (row.sha, row.name) == (sha, name)), None)

    def wait_for(
        self, project: Project, sha: str, name: str, state: str, timeout: float = 30.0
    ) -> Status:
        """The newest status, once it has this state."""

        def reached() -> bool:
            found = self.latest(project, sha, name)
            return found is not None and found.state == state

        wait_until(reached, f"{name} is {state} on {sha[:12]}", timeout)
        found = self.latest(project, sha, name)
        assert found is not None
        return found

    # -- the API ---------------------------------------------------------------------------

    def authorise(self, request: Request) -> None:
        if request.headers.get("private-token") != self.token:
            raise Refusal(401, {"message": "401 Unauthorized"})

    def refused(self, error: OpenAPIError) -> Refusal:
        return Refusal(400, {"error": f"{error}: {error.__cause__}"})

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Response:  # noqa: ANN401, ARG002
        if path == "/api/v4/user":
            return JSONResponse(self._user())
        if hooks := re.fullmatch(
            r"/api/v4/projects/([^/]+)/hooks(?:/(\d+)/events(?:/(\d+)/resend)?)?", path
        ):
            return self._about_hooks(query, *hooks.groups())
        if asked := re.fullmatch(r"/api/v4/projects/([^/]+)/members/all/(\d+)", path):
            return self._member(*asked.groups())
        matched = re.fullmatch(
            r"/api/v4/projects/([^/]+)/(?:statuses/([^/]+)|repository/commits/([^/]+)/statuses)",
            path,
        )
        assert matched is not None, f"the description has {path}, the double has not"
        name, posted, listed = matched.groups()
        project = self._project(urllib.parse.unquote(name))
        if posted is not None:
            return JSONResponse(self._shown(self._take(project, posted, body)), 201)
        rows = [row for row in self.statuses if (row.project, row.sha) == (project.id, listed)]
        wanted = {key: query[key] for key in ("name", "ref") if key in query}
        kept = [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
        if query.get("all") != "true":
            kept = list({(row.name, row.ref): row for row in kept}.values())
        return JSONResponse([self._shown(row) for row in kept])

    def _member(self, name: str, person: str) -> Response:
        self._project(urllib.parse.unquote(name))
        role = self.roles.get(int(person))
        if role is None:
            raise Refusal(404, {"message": "404 Not found"})
        known = {**self._user(), "id": int(person), "username": f"person-{person}"}
        return JSONResponse({**known, "access_level": role})

    def _about_hooks(
        self, query: dict[str, str], name: str, number: str | None, event: str | None
    ) -> Response:
        project = self._project(urllib.parse.unquote(name))
        if not self.may_list_hooks:
            raise Refusal(403, {"message": "403 Forbidden"})
        mine = [hook for hook in self.hooks if hook.owner == project.full_name]
        if number is None:
            return JSONResponse([{"id": one.id, "url": one.url} for one in mine])
        hook = next((hook for hook in mine if hook.id == int(number)), None)
        if hook is None:
            raise Refusal(404, {"message": "404 Not found"})
        rows = self.sendings_of(hook)
        if event is None:
            return self._page(query, rows, f"/api/v4/projects/{name}/hooks/{number}/events")
        if self.resends_left == 0:
            said = "This endpoint has been requested too many times. Try again later."
            raise Refusal(429, {"message": {"error": said}})
        self.resends_left -= 1
        sending = next(one for one in rows if one.id == int(event))
        return JSONResponse({"response_status": self.send(hook, sending.delivery).answered}, 201)

    def _page(self, query: dict[str, str], rows: list[Sending], path: str) -> Response:
        size, page = int(query.get("per_page", "20")), int(query.get("page", "1"))
        shown = rows[(page - 1) * size : page * size]
        response = JSONResponse([_shown_sending(one) for one in shown])
        if len(rows) > page * size:
            more = urllib.parse.urlencode({"per_page": size, "page": page + 1})
            response.headers["Link"] = f'<{self.url}{path}?{more}>; rel="next"'
        return response

    def _project(self, name: str) -> Project:
        for project in self.projects.values():
            if name in (str(project.id), project.full_name):
                return project
        raise Refusal(404, {"message": "404 Project Not Found"})

    def _take(self, project: Project, sha: str, body: dict[str, Any]) -> Status:
        if not self.may_write:
            raise Refusal(403, {"message": "403 Forbidden"})
        if unknown := body.keys() - STATUS_KEYS:
            raise Refusal(400, {"error": f"unknown keys: {', '.join(sorted(unknown))}"})
        if project.commits is not None and sha not in project.commits:
            raise Refusal(404, {"message": "404 Commit Not Found"})
        name = body.get("name") or body.get("context") or "default"
        ref, state = body.get("ref"), body["state"]
        found = self._open(project, sha, ref, name)
        if found is None:
            found = Status(
                id=next(self._ids),
                project=project.id,
                sha=sha,
                ref=ref,
                name=name,
                state=state,
                description=None,
                target_url=None,
                states=[],
            )
            self.statuses.append(found)
        elif (found.state, state) in FORBIDDEN:
            raise Refusal(400, {"message": _cannot(found.state, state)})
        found.state = state
        found.states.append(state)
        found.description = body.get("description")
        found.target_url = body.get("target_url")
        return found

    def _open(self, project: Project, sha: str, ref: str | None, name: str) -> Status | None:
        key = (project.id, sha, ref, name)
        rows: Iterable[Status] = reversed(self.statuses)
        return next(
            (
                row
                for row in rows
                if (row.project, row.sha, row.ref, row.name) == key and row.state in OPEN
            ),
            None,
        )

    def _user(self) -> dict[str, Any]:
        page = f"https://gitlab.example.com/{self.username}"
        known = {"id": 4, "username": self.username, "name": "Lading", "state": "active"}
        return {**known, "web_url": page}

    def _shown(self, status: Status) -> dict[str, Any]:
        return {
            "id": status.id,
            "sha": status.sha,
            "ref": status.ref,
            "status": status.state,
            "name": status.name,
            "target_url": status.target_url,
            "description": status.description,
            "created_at": "2026-02-12T09:14:08.000Z",
            "started_at": None,
            "finished_at": None,
            "allow_failure": False,
            "coverage": None,
            "author": self._user(),
        }

    # -- the deliveries --------------------------------------------------------------------

    def push_delivery(
        self,
        project: Project,
        *,
        sha: str,
        ref: str = "refs/heads/main",
        before: str = ZERO,
        message: str = "Change the greeting",
        secret: str | None = None,
        signing_token: str | None = None,
        delivery_id: str | None = None,
    ) -> Delivery:
        """A push to a branch, or with `ref` `refs/tags/…` to a tag; all-zero `sha` deletes it."""
        is_tag = ref.startswith("refs/tags/")
        body = samples.body("gitlab", "tag_push" if is_tag else "push")
        gone = sha == ZERO
        sample_commit = samples.body("gitlab", "push")["commits"][-1]
        commit = {**sample_commit, "id": sha, "message": message, "title": message}
        body.update(
            ref=ref,
            before=before,
            after=sha,
            checkout_sha=None if gone else sha,
            commits=[] if gone or is_tag else [commit],
            total_commits_count=0 if gone or is_tag else 1,
            project_id=project.id,
            project=_project(body["project"], project),
        )
        hook = "Tag Push Hook" if is_tag else "Push Hook"
        return self.delivery(
            hook, body, secret=secret, signing_token=signing_token, delivery_id=delivery_id
        )

    def merge_request_delivery(
        self,
        project: Project,
        *,
        number: int,
        sha: str,
        action: str = "open",
        old_sha: str | None = None,
        branch: str = "main",
        source_branch: str = "changes",
        fork: Project | None = None,
        author: int = STRANGER,
        sender: int | None = None,
        secret: str | None = None,
        signing_token: str | None = None,
        delivery_id: str | None = None,
    ) -> Delivery:
        """A merge request into `branch`; `old_sha` where an update brought commits.

        `author` is the id of who opened it, `sender` of who moved it now.
        """
        body = samples.body("gitlab", "merge_request_open")
        source = fork or project
        request = body["object_attributes"]
        request.update(
            iid=number,
            author_id=author,
            action=action,
            target_branch=branch,
            source_branch=source_branch,
            source_project_id=source.id,
            target_project_id=project.id,
            source=_project(request["source"], source),
            target=_project(request["target"], project),
            last_commit={**request["last_commit"], "id": sha},
            **({"oldrev": old_sha} if old_sha else {}),
        )
        body["user"].update(id=sender or author)
        body["project"] = _project(body["project"], project)
        return self.delivery(
            "Merge Request Hook",
            body,
            secret=secret,
            signing_token=signing_token,
            delivery_id=delivery_id,
        )

    def delivery(
        self,
        hook: str,
        body: dict[str, Any],
        *,
        secret: str | None = None,
        signing_token: str | None = None,
        delivery_id: str | None = None,
        at: datetime | None = None,
    ) -> Delivery:
        """Any body, with the secret token, a signature, or both."""
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        identifier = delivery_id or str(uuid.uuid4())
        headers = {
            **samples.headers("gitlab", "push"),
            "X-Gitlab-Event": hook,
            "X-Gitlab-Event-UUID": str(uuid.uuid4()),
            "Idempotency-Key": identifier,
        }
        if secret is not None:
            headers["X-Gitlab-Token"] = secret
        if signing_token is not None:
            headers.update(_signed(signing_token, identifier, raw, at or datetime.now(UTC)))
        return Delivery(headers=headers, body=raw)


def _shown_sending(one: Sending) -> dict[str, Any]:
    headers = {**one.delivery.headers, "X-Gitlab-Token": "[REDACTED]"}
    return {
        "id": one.id,
        "url": one.hook.url,
        "trigger": "push_hooks",
        "request_headers": headers,
        "request_data": json.loads(one.delivery.body),
        "response_headers": {},
        "response_body": "",
        "execution_duration": 0.1,
        "response_status": "internal error" if one.answered is None else str(one.answered),
    }


def _signed(token: str, identifier: str, body: bytes, at: datetime) -> dict[str, str]:
    key = base64.b64decode(token.removeprefix("whsec_"))
    timestamp = str(int(at.timestamp()))
    digest = hmac.digest(key, f"{identifier}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _cannot(present: str, wanted: str) -> str:
    verb = VERBS[wanted]
    return (
        f"Cannot transition status via :{verb} from :{present} "
        f'(Reason(s): Status cannot transition via "{verb}")'
    )


def _project(sample: dict[str, Any], wanted: Project) -> dict[str, Any]:
    page = f"https://gitlab.example.com/{wanted.full_name}"
    return {
        **sample,
        "id": wanted.id,
        "name": wanted.full_name.rpartition("/")[2],
        "path_with_namespace": wanted.full_name,
        "default_branch": wanted.default_branch,
        "visibility_level": 0 if wanted.private else 20,
        "web_url": page,
        "git_http_url": f"{page}.git",
    }
