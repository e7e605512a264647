"""What a person may do in a project, through python-gitlab.

https://docs.gitlab.com/api/project_members/#retrieve-an-indirect-project-member.
"""

from __future__ import annotations

from server.clock import Clock
from server.hosts.calling import odd_answers_told
from server.hosts.gitlab.statuses import Client, told
from server.hosts.port import Person, RepositoryRef

DEVELOPER = 30
"""The least role that may push."""
_NOT_FOUND = 404


def may_write(client: Client, repository: RepositoryRef, person: Person, clock: Clock) -> bool:
    """Whether a person may push there, as a member of the project or of a group above it; blocks.

    Raises:
        HostError: GitLab did not answer, or does not tell.
    """
    from gitlab.exceptions import GitlabError

    path = f"/projects/{int(repository.external_id)}/members/all/{int(person.id)}"
    try:
        with odd_answers_told(repository.full_name):
            member = client.api.http_get(path, obey_rate_limit=False)
    except GitlabError as error:
        if error.response_code == _NOT_FOUND:
            return False
        raise told(error, client, repository.full_name, clock) from error
    if not isinstance(member, dict) or member.get("state", "active") != "active":
        return False
    level = member.get("access_level")
    return str(member.get("id")) == person.id and isinstance(level, int) and level >= DEVELOPER
