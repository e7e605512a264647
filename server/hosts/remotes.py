"""Where to fetch a repository from over https, with the credential for that host alone."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from pydantic import SecretStr

from server.hosts import reading
from server.hosts.port import PayloadInvalidError, Remote, RepositoryRef


def remote(url: str, repository: RepositoryRef, user: str, token: SecretStr | None) -> Remote:
    """The address and, where there is a token, the environment that carries it.

    The token stands neither in the address, which git prints, nor in an argument, which every
    process can read; and git sends the header only to addresses below `url`.

    Args:
        url: The host's configured address, without a slash at its end.
        repository: Its full name is put behind the address.
        user: The name that the host wants beside a token.
        token: None for a host of which only public repositories are read.

    Raises:
        PayloadInvalidError: The name would lead elsewhere than below `url`.
    """
    if not reading.is_full_name(repository.full_name):
        raise PayloadInvalidError(f"{repository.full_name!r} is no repository name")
    scheme = urlsplit(url).scheme
    return Remote(
        url=f"{url}/{repository.full_name}.git",
        env={} if token is None else _header(url, user, token.get_secret_value()),
        protocols=scheme if scheme in ("http", "https") else "https",
    )


def _header(url: str, user: str, token: str) -> dict[str, str]:
    # https://git-scm.com/docs/git-config#Documentation/git-config.txt-httpltURLgt
    basic = base64.b64encode(f"{user}:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{url}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
    }
