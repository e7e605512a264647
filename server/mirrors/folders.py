"""A mirror's folder: what is in it beside git's own objects. Blocking, and quick."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import time
from pathlib import Path

from server.hosts.port import Remote

MARKER_KEPT = 30 * 24 * 3600.0  # seconds; less than maintenance keeps what no ref reaches

_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tbare = true
\thooksPath = /dev/null
\tlogAllRefUpdates = false
[extensions]{extension}
[gc]
\tauto = 0
[maintenance]
\tauto = false
[transfer]
\tfsckObjects = true
[fetch "fsck"]
\tbadTimezone = ignore
\tmissingSpaceBeforeDate = ignore
\tzeroPaddedFilemode = ignore
[fetch]
\trecurseSubmodules = false
\twriteCommitGraph = false
[http]
\tfollowRedirects = false
\tlowSpeedLimit = 1
\tlowSpeedTime = 30
"""
_ATTRIBUTES = "* -export-ignore -export-subst\n"
"""So that `git archive` gives exactly the commit, whatever its `.gitattributes` leave out."""


def exists(git_dir: Path) -> bool:
    """Whether there is a mirror yet."""
    return git_dir.is_dir()


def packs(git_dir: Path) -> int:
    """How many packs git has to look into; each fetch adds one."""
    return sum(1 for _ in (git_dir / "objects" / "pack").glob("*.pack"))


def _marker(git_dir: Path, sha: str) -> Path:
    return git_dir / "lading" / sha[:2] / sha[2:]


def marked(git_dir: Path, sha: str) -> bool:
    """Whether the commit was fetched whole.

    An object alone proves nothing: a fetch that was cut off leaves commits without their trees.
    """
    return _marker(git_dir, sha).exists()


def mark(git_dir: Path, sha: str) -> None:
    """Write down that the commit was fetched whole."""
    marker = _marker(git_dir, sha)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def create(git_dir: Path, digits: int) -> None:
    """An empty mirror, put in place at once (what `git init --bare` makes, and no more)."""
    git_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=git_dir.parent))
    for folder in ("objects/info", "objects/pack", "refs/heads", "info"):
        (draft / folder).mkdir(parents=True)
    (draft / "HEAD").write_text("ref: refs/heads/none\n")
    sha256 = digits == 64  # noqa: PLR2004 - digits of a SHA-256
    (draft / "config").write_text(
        _CONFIG.format(version=int(sha256), extension="\n\tobjectFormat = sha256" * sha256)
    )
    (draft / "info" / "attributes").write_text(_ATTRIBUTES)
    try:
        draft.replace(git_dir)
    except OSError:  # somebody else was quicker
        shutil.rmtree(draft)
        if not git_dir.is_dir():
            raise


def trust(git_dir: Path, remote: Remote) -> Path | None:
    """A git configuration that lets us read one folder that another user owns.

    The person who runs Lading has named the folder; git passes `safe.directory` to the other end
    of a local fetch only through this file.
    """
    if remote.protocols != "file":
        return None
    path = git_dir / f"lading-{hashlib.sha256(remote.url.encode()).hexdigest()[:16]}.gitconfig"
    quoted = remote.url.replace("\\", "\\\\").replace('"', '\\"')
    text = f'[safe]\n\tdirectory = "{quoted}"\n'
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def read_ref(git_dir: Path, ref: str) -> str | None:
    """What a ref that was just written points at: it is a file of its own until it is packed."""
    with contextlib.suppress(FileNotFoundError):
        return (git_dir / ref).read_text().strip()
    return None


def unlock(lock: Path) -> None:
    """Remove a lock that a killed git has left: nobody else writes while we have our turn."""
    lock.unlink(missing_ok=True)


def forget(git_dir: Path) -> None:
    """Drop old markers, so that none outlives the objects it vouches for."""
    oldest = time.time() - MARKER_KEPT
    for marker in (git_dir / "lading").glob("*/*"):
        if marker.stat().st_mtime < oldest:
            marker.unlink()


def discard(git_dir: Path) -> None:
    """Take a damaged mirror out of the way at once, then delete it."""
    aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=git_dir.parent))
    with contextlib.suppress(FileNotFoundError):
        git_dir.rename(aside / "mirror")
    shutil.rmtree(aside, ignore_errors=True)
