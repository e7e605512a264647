"""Commit statuses through PyGithub.

https://docs.github.com/en/rest/commits/statuses. One request a status, no retries and no waiting
in here: the outbox it came from decides when to try again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from server.clock import Clock
from server.hosts.calling import REQUEST_TIMEOUT, odd_answers_told, retry_after
from server.hosts.port import CommitStatus, HostCheck, HostError, Refusal, StatusState

if TYPE_CHECKING:
    from github import Github, GithubException

T = TypeVar("T")

MAX_DESCRIPTION = 140  # characters; GitHub answers 422 to more
SECONDARY_LIMIT_WAIT = 60.0  # seconds, where a secondary limit comes without Retry-After

STATES = {
    StatusState.PENDING: "pending",
    StatusState.RUNNING: "pending",  # GitHub knows no running; the description tells
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failure",
    StatusState.ERROR: "error",
    StatusState.CANCELLED: "error",  # nor cancelled
}


def client(token: str, api_url: str, *, timeout: int = REQUEST_TIMEOUT) -> Github:
    """A client that neither waits, nor retries, nor asks for more than it is told to."""
    import github

    return github.Github(
        auth=github.Auth.Token(token),
        base_url=api_url.rstrip("/"),
        timeout=timeout,
        retry=None,
        seconds_between_requests=0,
        seconds_between_writes=0,
        lazy=True,
        user_agent="Lading",
        per_page=100,
    )


def post(api: Github, status: CommitStatus, clock: Clock) -> None:
    """Make GitHub show the status; blocks.

    Raises:
        HostError: It did not take it.
    """

    def send() -> None:
        # Lazy objects: neither the repository nor the commit is fetched first.
        commit = api.get_repo(status.repository.full_name).get_commit(status.sha)
        created = commit.create_status(
            state=STATES[status.state],
            target_url=status.target_url,
            description=described(status),
            context=status.context,
        )
        if created.raw_data.get("state") != STATES[status.state]:
            raise HostError(
                f"GitHub answered for {status.repository.full_name}, but took no status: if the "
                "repository was renamed or moved, the next push brings its new name",
                permanent=True,
            )

    translated(send, status.repository.full_name, clock)


def described(status: CommitStatus) -> str:
    """The description within GitHub's limit; an end that it has no state for is told in words."""
    text = status.description
    if status.state is StatusState.CANCELLED and "cancelled" not in text.lower():
        text = f"Cancelled: {text}" if text else "Cancelled"
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1]}…"


def check(api: Github, where: str, clock: Clock) -> HostCheck:
    """Whose token it is and what is left of its rate limit; blocks.

    Raises:
        HostError: GitHub did not answer, or refused the token.
    """
    user = translated(lambda: api.get_user().login, "the token", clock)
    remaining, limit = api.rate_limiting
    scopes = api.oauth_scopes  # only classic tokens tell theirs
    message = f"{where} answers; token of {user}; {remaining} of {limit} requests left this hour"
    if scopes and not {"repo", "repo:status"} & set(scopes):
        return HostCheck(
            ok=False,
            message=f"{message}; its scopes are {', '.join(scopes)}",
            fix="give the token the scope `repo` (or `repo:status` for public repositories)",
        )
    return HostCheck(ok=True, message=message)


def translated(function: Callable[[], T], subject: str, clock: Clock) -> T:
    """What the function gives, with every error of the library's told as ours.

    Raises:
        HostError: GitHub did not answer, or not as hoped.
    """
    from github import GithubException

    try:
        with odd_answers_told(subject):
            return function()
    except GithubException as error:
        raise _told(error, subject, clock) from error
    except (RuntimeError, AssertionError) as error:
        # How PyGithub says: redirected elsewhere, or an address outside the API's.
        raise HostError(
            f"GitHub pointed to another address than api_url ({error}): correct api_url",
            permanent=True,
        ) from error


def _told(error: GithubException, subject: str, clock: Clock) -> HostError:
    status, said = error.status, _message(error)
    wish = retry_after(error.headers or {}, clock())
    if status in _LIMITED and wish is None and "rate limit" in said.lower():
        wish = SECONDARY_LIMIT_WAIT
    if status in _LIMITED and (wish is not None or status not in _ADVICE):
        return HostError(f"GitHub's rate limit is used up ({said})", retry_after=wish)
    advice = _ADVICE.get(status, "")
    text = f"GitHub answered {status} for {subject}{f' ({said})' if said else ''}{advice}"
    refused = REFUSED.get(status)
    permanent = status in _ADVICE and refused is None
    return HostError(text, permanent=permanent, retry_after=wish, refused=refused)


_LIMITED = frozenset({403, 429})
"""How GitHub answers when it has had enough; 403 has other reasons too."""

REFUSED = {401: Refusal.CREDENTIAL, 403: Refusal.REPOSITORY, 404: Refusal.REPOSITORY}
"""What trying again mends once somebody has given the token its right back."""

_ADVICE = {
    400: ": it does not understand what was sent",
    401: ": the token is wrong, expired or revoked; make a new one and set it as `token`",
    403: ": the token may not do this; it needs write access to commit statuses",
    404: ": the repository is gone, or the token cannot see it; give it access to the repository",
    410: ": the repository is gone",
    422: ": the commit is gone, or it has 1000 statuses of this name already",
}
"""What to do about answers that trying again cannot change."""


def _message(error: GithubException) -> str:
    found = error.data.get("message") if isinstance(error.data, dict) else None
    return str(found)[:200] if found else ""
