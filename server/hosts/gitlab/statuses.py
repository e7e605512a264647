"""Commit statuses through python-gitlab.

https://docs.gitlab.com/api/commits/#set-the-pipeline-status-of-a-commit. One request a status, no
retries and no waiting in here: the outbox it came from decides when to try again.

GitLab keeps statuses in a state machine and answers 400 "Cannot transition status" to a state that
a pending or running status already has or has passed. A status may be posted again after a crash,
so that answer is looked into: where GitLab already shows what we wanted, all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.clock import Clock
from server.hosts.calling import REQUEST_TIMEOUT, odd_answers_told, retry_after
from server.hosts.port import CommitStatus, HostCheck, HostError, Refusal, StatusState

if TYPE_CHECKING:
    import requests
    from gitlab import Gitlab
    from gitlab.exceptions import GitlabError

MAX_TEXT = 255  # characters of description, name, ref and target_url
CANNOT_TRANSITION = "Cannot transition status"

STATES = {
    StatusState.PENDING: "pending",
    StatusState.RUNNING: "running",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "failed",  # GitLab knows no error; the description tells
    StatusState.CANCELLED: "canceled",
}
RANKS = {"created": 0, "pending": 0, "running": 1}
"""How far a state is; every other is an end."""
END = 2


class Client:
    """python-gitlab, and what its errors leave out: the headers of the last answer."""

    def __init__(self, token: str, url: str, *, timeout: int = REQUEST_TIMEOUT) -> None:
        import gitlab
        import requests

        session = requests.Session()
        session.hooks["response"].append(self._remember)
        self.last_headers: dict[str, str] = {}
        self.api: Gitlab = gitlab.Gitlab(
            url,
            private_token=token,
            timeout=timeout,
            retry_transient_errors=False,
            keep_base_url=True,
            session=session,
            user_agent="Lading",
        )

    def _remember(self, answer: requests.Response, *_: object, **__: object) -> None:
        self.last_headers = dict(answer.headers)


def post(client: Client, status: CommitStatus, clock: Clock) -> None:
    """Make GitLab show the status; blocks.

    It goes to `status.repository`, the project that was told of the commit. (For a merge request
    from a fork that is the target project, which holds the commit as the request's head.)

    Raises:
        HostError: It did not take it.
    """
    from gitlab.exceptions import GitlabError

    try:
        with odd_answers_told(status.repository.full_name):
            made = _statuses(client, status).create(_fields(status), obey_rate_limit=False)
            made.attributes["status"]  # an answer without one took nothing
    except GitlabError as error:
        if error.response_code != 400 or CANNOT_TRANSITION not in _message(error):  # noqa: PLR2004
            raise told(error, client, status.repository.full_name, clock) from error
        shown = _shown(client, status, clock)
        if not _as_far(shown, status.state):
            raise HostError(
                f"GitLab shows {shown or 'no state'} for {status.context} on {status.sha[:12]} "
                f"and refuses {STATES[status.state]}: another status of that name is in the way; "
                "cancel it in GitLab, or give the pipeline another name",
                permanent=True,
            ) from error


def _statuses(client: Client, status: CommitStatus) -> Any:  # noqa: ANN401  (python-gitlab's own)
    found = status.repository
    project = int(found.external_id) if found.external_id.isdecimal() else found.full_name
    lazy = client.api.projects.get(project, lazy=True)
    return lazy.commits.get(status.sha, lazy=True).statuses


def _fields(status: CommitStatus) -> dict[str, str]:
    fields = {
        "state": STATES[status.state],
        "name": status.context[:MAX_TEXT],
        "description": status.description[:MAX_TEXT],
    }
    if len(status.target_url) <= MAX_TEXT:  # half an address would lead nowhere
        fields["target_url"] = status.target_url
    if status.ref and len(status.ref) <= MAX_TEXT:
        fields["ref"] = status.ref
    return fields


def _shown(client: Client, status: CommitStatus, clock: Clock) -> str | None:
    """The newest state that GitLab has for this commit, ref and name."""
    from gitlab.exceptions import GitlabError

    filters = {"name": status.context[:MAX_TEXT], **({"ref": status.ref} if status.ref else {})}
    try:
        with odd_answers_told(status.repository.full_name):
            rows = _statuses(client, status).list(
                get_all=False, per_page=100, query_parameters=filters, obey_rate_limit=False
            )
    except GitlabError as error:
        raise told(error, client, status.repository.full_name, clock) from error
    known = [row.attributes for row in rows]
    named = {row.get("id"): row for row in known if row.get("name") == filters["name"]}
    newest = max((number for number in named if isinstance(number, int)), default=None)
    return None if newest is None else str(named[newest].get("status"))


def _as_far(shown: str | None, wanted: StatusState) -> bool:
    """Whether what is shown is what was wanted, or later; two different ends are neither."""
    if shown is None:
        return False
    return shown == STATES[wanted] or RANKS.get(shown, END) > wanted.rank


def check(client: Client, where: str, clock: Clock) -> HostCheck:
    """Whose token it is; blocks.

    Raises:
        HostError: GitLab did not answer, or refused the token.
    """
    from gitlab.exceptions import GitlabError

    try:
        user = client.api.http_get("/user", obey_rate_limit=False)
    except GitlabError as error:
        raise told(error, client, "the token", clock) from error
    name = user.get("username") if isinstance(user, dict) else None
    if not name:
        return HostCheck(
            ok=False, message=f"{where} answers, but not as GitLab does", fix="check its address"
        )
    return HostCheck(ok=True, message=f"{where} answers; token of {name}")


def told(error: GitlabError, client: Client, subject: str, clock: Clock) -> HostError:
    """An error of the library's as ours."""
    status, said = error.response_code, _message(error)
    if status is None:
        return HostError(f"GitLab's answer for {subject} could not be read ({said})")
    wish = retry_after(client.last_headers, clock())
    if status == 429:  # noqa: PLR2004
        return HostError(f"GitLab's rate limit is used up ({said})", retry_after=wish)
    if status == 403 and wish is not None:  # noqa: PLR2004
        return HostError(f"GitLab asks to wait ({said})", retry_after=wish)
    refused = None if _of_commit(status, said) else REFUSED.get(status)
    advice = _ADVICE.get(status, "")
    text = f"GitLab answered {status} for {subject}{f' ({said})' if said else ''}{advice}"
    permanent = status in _ADVICE and refused is None
    return HostError(text, permanent=permanent, retry_after=wish, refused=refused)


def _of_commit(status: int, said: str) -> bool:
    """Whether it is the commit that is gone ("404 Commit Not Found"), and not the project."""
    return status == 404 and "commit" in said.lower()  # noqa: PLR2004


REFUSED = {401: Refusal.CREDENTIAL, 403: Refusal.REPOSITORY, 404: Refusal.REPOSITORY}
"""What trying again mends once somebody has given the token its right back."""

_ADVICE = {
    400: ": it does not accept what was sent",
    401: ": the token is wrong, expired or revoked; make a new one and set it as `token`",
    403: ": the token may not do this; it needs the scope `api` and the role Developer or more",
    404: ": the project or the commit is gone, or the token cannot see it; make it a member",
    422: ": it does not accept what was sent",
}
"""What to do about answers that trying again cannot change."""


def _message(error: GitlabError) -> str:
    found: object = error.error_message  # whatever JSON the server sent
    text = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
    return text[:200]
