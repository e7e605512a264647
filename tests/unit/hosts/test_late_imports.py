from __future__ import annotations

import subprocess
import sys


def test_a_server_starts_without_loading_the_hosts_client_libraries() -> None:
    code = (
        "import sys; from server.config import GitHubSettings, GitLabSettings;"
        "from server.hosts.github import GitHubHost; from server.hosts.gitlab import GitLabHost;"
        "GitHubHost('a', GitHubSettings(kind='github', token='t'));"
        "GitLabHost('b', GitLabSettings(kind='gitlab', token='t'));"
        "print(sorted({'github', 'gitlab', 'requests'} & set(sys.modules)))"
    )

    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )

    assert (shown.stdout.strip(), shown.stderr) == ("[]", "")
