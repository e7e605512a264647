"""git in a person's own checkout: with their configuration, and without writing anything there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.problems import LadingError

# What git sets for hooks (`git rev-parse --local-env-vars`): a hook that runs us is in the
# checkout's folder already, and must not have us look into the index it is about to write.
_OF_A_HOOK = frozenset(
    {
        *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_OBJECT_DIRECTORY", "GIT_DIR"),
        *("GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE"),
        *("GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR"),
    }
)

# Neither a hook nor a monitor of the person's may be started by our looking, and a split index
# would write its shared half into the checkout.
_QUIET = (
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.splitIndex=false"),
    *("-c", "advice.addEmbeddedRepo=false"),
)


class CheckoutError(LadingError):
    """The folder is no checkout, or git cannot read it."""


class RevisionError(CheckoutError):
    """A revision that a person named is none."""


class Git:
    """Runs git in one folder."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._options = tuple(options) or _QUIET
        kept = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
        self._env = {
            **kept,
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            **(env or {}),
        }

    def also(self, env: Mapping[str, str], options: Sequence[str] = ()) -> Git:
        """The same with more in its environment, and more options before the command."""
        return Git(self.folder, {**self._env, **env}, (*self._options, *options))

    def ask(self, *arguments: str) -> bytes | None:
        """What git answers; None where it says no."""
        done = self._run(arguments)
        return None if done.returncode else done.stdout

    def line(self, *arguments: str) -> str | None:
        """The one line that git answers; None where it says no, or nothing."""
        answer = self.ask(*arguments)
        return None if answer is None else os.fsdecode(answer).strip("\n") or None

    def tell(self, *arguments: str) -> bytes:
        """What git answers.

        Raises:
            CheckoutError: It says no; the message is git's own.
        """
        done = self._run(arguments)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            verb = next(word for word in arguments if not word.startswith("-"))
            raise CheckoutError(f"git {verb} failed in {self.folder}: {why}")
        return done.stdout

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", *self._options, *arguments],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise CheckoutError(
                "git is not installed here, or not on the PATH: install it, and run again"
            ) from error
