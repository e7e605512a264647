"""A repository's tree at one commit, read from a bare git folder without ever checking it out."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Protocol

from pipelines.problems import SourceError
from pipelines.tarstream import Change, as_file, rewritten

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)

# A repository of ours for one command, so that neither the mirror's configuration nor a person's
# has a say. `info/attributes` outranks the `.gitattributes` that a commit brings: with
# `export-ignore` a repository would hide its own tests from the workspace, with `export-subst`
# change their text.
_ATTRIBUTES = "* -export-ignore -export-subst -filter\n"
_SHA256_CONFIG = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n"


class Source(Protocol):
    """The files of one commit."""

    sha: str

    def archive(
        self, *, path: str = ".", prefix: str = "", umask: int = 0o022
    ) -> AbstractContextManager[IO[bytes]]:
        """An uncompressed tar stream of the tree below `path`, names starting with `prefix`.

        Entries carry the commit's time, uid 0 and modes 0666/0777 less `umask`. Blocking: call it
        from a thread.

        Raises:
            SourceError: The commit or the path is not there.
        """

    def read(self, path: str) -> bytes | None:
        """One file's bytes; None where there is none. Blocking."""

    def committed_at(self) -> datetime:
        """The commit's own time. Blocking."""

    def changed_at(self, paths: Sequence[str]) -> datetime:
        """The time of the last commit, up to this one, that changed one of the paths. Blocking."""


class GitSource:
    """The files of one commit in a bare repository (or a checkout's `.git`).

    `sha` is the commit's full name. Nothing is written into the repository.

    Raises:
        SourceError: `sha` is no full commit name.
    """

    def __init__(self, git_dir: Path, sha: str) -> None:
        if not _SHA.fullmatch(sha):
            raise SourceError(f"'{sha[:80]}' is no commit: 40 or 64 lower-case hex digits are one")
        self.sha = sha
        self._objects = git_dir / "objects"

    @contextmanager
    def archive(
        self, *, path: str = ".", prefix: str = "", umask: int = 0o022
    ) -> Iterator[IO[bytes]]:
        """See `Source.archive`."""
        command = ["--literal-pathspecs", "-c", f"tar.umask={umask:04o}", "archive", "--format=tar"]
        if path == ".":
            with self._stream([*command, f"--prefix={prefix}", self.sha]) as stream:
                yield stream
            return
        # `git archive <sha>:<path>` would forget the commit's time: take the path, cut its names.
        with self._stream([*command, self.sha, "--", path]) as stream:
            yield as_file(rewritten(stream, _moved(path.rstrip("/") + "/", prefix)))

    def read(self, path: str) -> bytes | None:
        """See `Source.read`; raises SourceError where the commit itself is not there."""
        # git would take the other spellings as relative to where the process happens to stand.
        if "\n" in path or any(part in ("", ".", "..") for part in path.split("/")):
            return None
        asked = f"{self.sha}^{{commit}}\n{self.sha}:{path}\n".encode("utf-8", "surrogateescape")
        answer = self._output(["cat-file", "--batch"], asked)
        commit, rest = _object(answer)
        if commit is None:
            raise SourceError(f"commit {self.sha} is not in the repository")
        found, _ = _object(rest)
        return found[1] if found and found[0] == b"blob" else None

    def committed_at(self) -> datetime:
        """See `Source.committed_at`; raises SourceError where the commit is not there."""
        seconds = self._output(["show", "--no-patch", "--format=%ct", self.sha, "--"])
        return datetime.fromtimestamp(int(seconds), UTC)

    def changed_at(self, paths: Sequence[str]) -> datetime:
        """See `Source.changed_at`; the commit's own time where no commit at hand changed them."""
        asked = ["--literal-pathspecs", "log", "--max-count=1", "--format=%ct", self.sha, "--"]
        try:
            seconds = self._output([*asked, *paths]).strip()
        except SourceError:  # a shallow clone ends somewhere
            return self.committed_at()
        return datetime.fromtimestamp(int(seconds), UTC) if seconds else self.committed_at()

    @contextmanager
    def _stream(self, arguments: list[str]) -> Iterator[IO[bytes]]:
        with self._repository() as env, TemporaryFile() as errors:
            process = subprocess.Popen(
                ["git", *arguments], env=env, stdout=subprocess.PIPE, stderr=errors
            )
            with process:
                try:
                    # Nothing at all means that git refused; say so before anyone uses the stream.
                    if process.stdout is None or not process.stdout.peek(1):  # type: ignore[attr-defined]  # a BufferedReader
                        process.wait()
                        errors.seek(0)
                        raise self._refused(errors.read())
                    yield process.stdout
                finally:
                    process.kill()

    def _output(self, arguments: list[str], given: bytes = b"") -> bytes:
        with self._repository() as env:
            done = subprocess.run(
                ["git", *arguments], env=env, input=given, capture_output=True, check=False
            )
        if done.returncode:
            raise self._refused(done.stderr)
        return done.stdout

    def _refused(self, errors: bytes) -> SourceError:
        reason = errors.decode(errors="replace").strip() or "git gave no reason"
        return SourceError(f"commit {self.sha} cannot be read: {reason}")

    @contextmanager
    def _repository(self) -> Iterator[Mapping[str, str]]:
        """The environment of a git whose only repository is the bare one's objects."""
        with TemporaryDirectory(prefix="lading-git-") as name:
            folder = Path(name)
            (folder / "HEAD").write_text("ref: refs/heads/none\n")
            (folder / "refs").mkdir()
            (folder / "info").mkdir()
            (folder / "info" / "attributes").write_text(_ATTRIBUTES)
            if len(self.sha) > 40:  # noqa: PLR2004 - a SHA-1 name's length
                (folder / "config").write_text(_SHA256_CONFIG)
            yield {
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C.UTF-8",
                "GIT_DIR": name,
                "GIT_OBJECT_DIRECTORY": str(self._objects.absolute()),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_NO_REPLACE_OBJECTS": "1",
            }


def _moved(below: str, prefix: str) -> Change:
    """Cuts `below` from names and puts `prefix` before what is left."""

    def change(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = prefix + entry.name[len(below) :]
        if not f"{entry.name}/".startswith(below) or not name.strip("/"):
            return None
        changed = entry.replace(name=name)
        # A long name stands in a pax header too, which would win over the new one.
        changed.pax_headers = {
            key: value for key, value in entry.pax_headers.items() if key != "path"
        }
        return changed

    return change


def _object(answer: bytes) -> tuple[tuple[bytes, bytes] | None, bytes]:
    """The first object of a `git cat-file --batch` answer as (type, content), and the rest.

    https://git-scm.com/docs/git-cat-file#_batch_output
    """
    line, _, rest = answer.partition(b"\n")
    words = line.rsplit(b" ", 2)
    if len(words) != 3 or not words[2].isdigit():  # noqa: PLR2004 - name, type, size
        return None, rest
    size = int(words[2])
    return (words[1], rest[:size]), rest[size + 1 :]
