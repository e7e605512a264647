"""One bare mirror for each repository: fetched by commit, read without a checkout.

A mirror is a cache: it may be deleted at any time while nothing runs, and is fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.crashing import reach
from pipelines.recipes import Files, Sought
from pipelines.recipes.looking import LISTING, MAX_READ, Blob, batches, listed
from pipelines.values import Value
from server.hosts.port import Remote
from server.mirrors import asking, command, failures, folders, objects, spelling
from server.mirrors.command import MirrorError, RefGoneError
from server.mirrors.objects import CommitInfo, Snapshot
from server.mirrors.processes import READING, Threads
from server.mirrors.resolving import Head, Pushed, Resolved, choose, names, read_heads

FETCH_TIMEOUT = 600.0  # seconds; a first fetch of a large repository takes minutes
LOOK_LIMIT = 2 * 1024 * 1024  # bytes of one answer about files that templates ask for
DIFF_LIMIT = 32 * 1024 * 1024  # bytes of changed paths
UNREACHABLE_KEPT = "90.days.ago"
PACKS_KEPT = 50  # more are rolled up in passing; a look-up goes through all of them
AHEAD_COMMITS = 10_000  # looked through for those that came along with a fetch
AHEAD_SNAPSHOTS = 512  # commits described before somebody asks


class MirrorKey(Value):
    """Which repository: its id on its host, so that a mirror survives renames."""

    host: str
    external_id: str

    @property
    def folder(self) -> str:
        """A folder's name in which nothing is spelled by strangers."""
        digest = hashlib.sha256(f"{self.host}\0{self.external_id}".encode()).hexdigest()
        return f"{re.sub(r'[^a-z0-9]+', '-', self.host.lower()).strip('-')[:40]}-{digest[:32]}.git"


class Wanted(Value):
    """A commit to be fetched."""

    sha: str
    ref: str
    before: str | None = None
    """Where the ref stood before."""


class Mirrors:
    """The mirrors in one folder.

    Calls for one repository take turns while they fetch; reading goes on beside. A folder belongs
    to one process.
    """

    def __init__(self, folder: Path, *, fetch_timeout: float = FETCH_TIMEOUT) -> None:
        self._folder = folder
        self._fetch_timeout = fetch_timeout
        self._threads = Threads()
        self._ahead: dict[tuple[Path, str], Snapshot] = {}
        self._stood: dict[tuple[Path, str, str], dict[str, Head]] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def path(self, key: MirrorKey) -> Path:
        """Where the repository's mirror is, or will be."""
        return self._folder / key.folder

    async def fetch(
        self, key: MirrorKey, remote: Remote, *, sha: str, ref: str, before: str | None = None
    ) -> Path:
        """Bring a commit here, with its history; at once when it is here already.

        Args:
            key: The repository.
            remote: Where to fetch from, from the host's configuration.
            sha: The commit, or an annotated tag's own id.
            ref: Where the commit was seen; fetched instead where the host gives no single commits.
            before: Another commit that :meth:`changed` will want; it may be missing.

        Returns:
            The bare repository.

        Raises:
            MirrorError: The commit could not be fetched, or sha or ref is not what git allows.
        """
        spelling.check(sha, ref)
        async with self._lock(key):
            if not folders.marked(self.path(key), sha):
                await self._fetch_healing(key, remote, sha, ref)
            await self._fetch_before(key, remote, before, ref)
        return self.path(key)

    async def fetch_pushed(
        self, key: MirrorKey, remote: Remote, *, sha: str, ref: str, before: str | None = None
    ) -> Pushed:
        """As :meth:`fetch`, and sees where the branch or tag is by now, in the same call to git.

        Raises:
            RefGoneError: It has been deleted meanwhile.
            MirrorError: The commit could not be fetched, or sha or ref is not what git allows.
        """
        spelling.check(sha, ref)
        async with self._lock(key):
            if folders.marked(self.path(key), sha):
                head = await self._standing(key, remote, sha, ref)
            else:
                head = await self._fetch_healing(key, remote, sha, ref, tip=True)
            await self._fetch_before(key, remote, before, ref)
        return Pushed(git_dir=self.path(key), head=head)

    async def _standing(self, key: MirrorKey, remote: Remote, sha: str, ref: str) -> str | None:
        """Where the branch or tag of a commit that is here stands on the host, if that is known."""
        known = self._stood.pop((self.path(key), sha, ref), None)
        try:
            heads = known if known is not None else await self.heads(key, remote, ref)
        except MirrorError:
            return None  # the commit is here: whatever is wrong with the host need not stop it
        if ref not in heads:
            raise RefGoneError(ref)
        return heads[ref].commit

    async def fetch_ahead(self, key: MirrorKey, remote: Remote, wanted: Sequence[Wanted]) -> None:
        """Fetch and describe many commits at once, as far as that can be done in one go.

        Each ref's last commit is asked for, and usually brings those before it along. What does
        not come this way comes with :meth:`fetch`, and tells then what is wrong.

        Raises:
            MirrorError: The host could not be asked.
        """
        git_dir = self.path(key)
        usable = [
            one for one in wanted if spelling.SHA.fullmatch(one.sha) and spelling.is_ref(one.ref)
        ]
        async with self._lock(key):
            missing = [one for one in usable if not folders.marked(git_dir, one.sha)]
            if len(missing) > 1:
                await self._fetch_many(git_dir, key, remote, missing)
        here = [one for one in usable if folders.marked(git_dir, one.sha)]
        if len(here) > 1:
            await self._describe_ahead(git_dir, [one.sha for one in here])
            heads = await self.heads(key, remote, *dict.fromkeys(one.ref for one in here))
            self._stood |= {(git_dir, one.sha, one.ref): heads for one in here}
            _shorten(self._stood)

    async def _fetch_many(
        self, git_dir: Path, key: MirrorKey, remote: Remote, missing: Sequence[Wanted]
    ) -> None:
        tips = {one.ref: one.sha for one in missing}
        if not folders.exists(git_dir):
            await asyncio.to_thread(folders.create, git_dir, len(missing[0].sha))
        await asking.knock(remote)
        done = await self._fetch(key, remote, {_ours(ref): sha for ref, sha in tips.items()})
        if done.code != 0:
            raise failures.failure(
                "fetching the repository", done.err, url=remote.url, secrets=remote.env
            )
        for sha in tips.values():
            folders.mark(git_dir, sha)
        befores = {one.before for one in missing} - {one.sha for one in missing}
        known = [f"^{sha}" for sha in befores if sha is not None and spelling.SHA.fullmatch(sha)]
        between = await self._read(
            git_dir,
            *("rev-list", "--ignore-missing", f"--max-count={AHEAD_COMMITS}"),
            *(*tips.values(), *known, "--"),
            limit=AHEAD_COMMITS * 65,
        )
        found = frozenset(between.out.decode("ascii", "replace").split())
        for one in missing:
            if one.sha in found:  # what a whole commit stands on is whole
                folders.mark(git_dir, one.sha)
        await self._roll_up(git_dir)

    async def _describe_ahead(self, git_dir: Path, shas: Sequence[str]) -> None:
        described = await self._threads.do(
            READING, lambda stop: objects.describe_many(stop, git_dir, shas)
        )
        for sha, snapshot in described.items():
            self._ahead[git_dir, sha] = snapshot
        _shorten(self._ahead)

    async def resolve(
        self,
        key: MirrorKey,
        remote: Remote,
        name: str,
        *,
        default_branch: str | None = None,
    ) -> Resolved:
        """What a branch, tag or whole commit id stands for on the host now.

        Args:
            key: The repository.
            remote: Where it is.
            name: As a person gave it, with or without `refs/…/`; empty for the default branch.
            default_branch: The repository's, where it is known.

        Raises:
            MirrorError: There is no such name, or the host cannot be asked.
        """
        name = name or default_branch or "main"
        if spelling.SHA.fullmatch(name):
            return Resolved(sha=name, ref=f"refs/heads/{default_branch or 'main'}")
        wanted = names(name)
        listing = await asking.listing(
            self._threads,
            self._folder,
            remote,
            lane=key.host,
            wanted=(*wanted, f"{wanted[-1]}^{{}}"),
        )
        return choose(name, listing)

    async def heads(self, key: MirrorKey, remote: Remote, *refs: str) -> dict[str, Head]:
        """What branches and tags point at on the host now, by full ref; all of them, or some.

        Raises:
            MirrorError: The host cannot be asked.
        """
        wanted = [name for ref in refs for name in (ref, f"{ref}^{{}}")]
        listing = await asking.listing(
            self._threads,
            self._folder,
            remote,
            lane=key.host,
            wanted=wanted or asking.BRANCHES_AND_TAGS,
        )
        return read_heads(listing)

    async def head(self, key: MirrorKey, remote: Remote, ref: str) -> str | None:
        """The commit that a ref of any kind stands at on the host now; None where it is gone.

        Raises:
            MirrorError: The host cannot be asked, or it is no ref's name.
        """
        wanted = (ref, f"{ref}^{{}}")
        listing = await asking.listing(
            self._threads, self._folder, remote, lane=key.host, wanted=wanted
        )
        refs = {name: sha for sha, _, name in (x.partition("\t") for x in listing.splitlines())}
        return refs.get(f"{ref}^{{}}", refs.get(ref))

    async def changed(
        self, git_dir: Path, before: str | None, sha: str, *, from_merge_base: bool = False
    ) -> frozenset[str] | None:
        """The paths that differ between two commits; a rename is both of its paths.

        Args:
            git_dir: From :meth:`fetch`.
            before: The commit the branch pointed at; for a pull request the base commit.
            sha: The commit.
            from_merge_base: For pull requests: compare with where the two parted.

        Returns:
            None where it cannot be known: `before` is zeros, gone, or shares no history.
        """
        if before is None or not spelling.SHA.fullmatch(before) or not before.strip("0"):
            return None
        spelling.check(sha)
        if from_merge_base:
            base = await self._read(git_dir, "merge-base", before, sha, limit=1024)
            before = base.out.decode("ascii", "replace").strip()
            if base.code != 0 or not spelling.SHA.fullmatch(before):
                return None
        done = await self._read(
            git_dir, "diff-tree", "-r", "-z", "--name-only", "--no-renames", before, sha, "--",
            limit=DIFF_LIMIT,
        )  # fmt: skip
        if done.code != 0:
            return None
        return frozenset(path.decode("utf-8", "replace") for path in done.out.split(b"\0") if path)

    async def look(self, git_dir: Path, sha: str, asked: Sought) -> Files:
        """What templates want to know of a commit's files.

        Raises:
            MirrorError: They cannot be read.
        """
        blobs: dict[str, Blob] = {}
        for paths in batches(asked.paths):
            blobs |= listed(await self._told(git_dir, *LISTING, sha, "--", *paths))
        texts = {}
        for path in sorted(asked.texts & blobs.keys()):
            if blobs[path].size <= MAX_READ:
                raw = await self._told(git_dir, "cat-file", "blob", blobs[path].id)
                texts[path] = raw.decode("utf-8", "replace")
        return Files(paths=frozenset(blobs), texts=texts)

    async def file(self, git_dir: Path, sha: str, path: str, *, limit: int) -> bytes | None:
        """A file of a commit, or its beginning; None where there is none.

        Raises:
            MirrorError: It cannot be read.
        """
        spelling.check(sha)
        if not folders.exists(git_dir):
            raise MirrorError("the repository has no mirror here")
        blob = listed(await self._told(git_dir, *LISTING, sha, "--", path)).get(path)
        if blob is None or blob.size > limit:
            return None
        return await self._told(git_dir, "cat-file", "blob", blob.id)

    async def _told(self, git_dir: Path, *arguments: str) -> bytes:
        done = await self._read(git_dir, *arguments, limit=LOOK_LIMIT)
        if done.code != 0:
            raise failures.failure("reading the commit", done.err)
        return done.out

    async def is_ancestor(self, git_dir: Path, sha: str, of: str) -> bool:
        """Whether a commit is in another's history, or is that commit itself.

        False also where one of the two is not here.
        """
        spelling.check(sha)
        spelling.check(of)
        done = await self._read(git_dir, "merge-base", "--is-ancestor", sha, of, limit=1024)
        return done.code == 0

    async def describe(self, git_dir: Path, sha: str) -> Snapshot:
        """The commit and its definitions, in one git process.

        Raises:
            MirrorError: There is no such commit here, or it cannot be read.
        """
        spelling.check(sha)
        if (known := self._ahead.pop((git_dir, sha), None)) is not None:
            return known
        try:
            return await self._threads.do(
                READING, lambda stop: objects.describe(stop, git_dir, sha)
            )
        except MirrorError as error:
            if error.damaged:
                await asyncio.to_thread(folders.discard, git_dir)
            raise

    async def definitions(self, git_dir: Path, sha: str) -> dict[str, bytes]:
        """`.lading.yml` and `.lading/*.yml` by path; see :meth:`describe` for what is left out."""
        return (await self.describe(git_dir, sha)).definitions

    async def commit(self, git_dir: Path, sha: str) -> CommitInfo:
        """What the commit says about itself."""
        return (await self.describe(git_dir, sha)).commit

    async def maintain(self, key: MirrorKey) -> None:
        """Pack what many fetches have left loose. Slow; for a quiet hour.

        Raises:
            MirrorError: git could not; the mirror stays usable.
        """
        git_dir = self.path(key)
        async with self._lock(key):
            if not folders.exists(git_dir):
                return
            await asyncio.to_thread(folders.forget, git_dir)
            folders.unlock(git_dir / "packed-refs.lock")
            done = await command.run(
                self._threads, git_dir, "gc", "--quiet", f"--prune={UNREACHABLE_KEPT}",
                env=command.environment(), limit=65536, timeout=self._fetch_timeout,
            )  # fmt: skip
            if done.code != 0:
                raise failures.failure("packing a mirror", done.err)

    async def discard(self, key: MirrorKey) -> None:
        """Delete a mirror; the next :meth:`fetch` makes it anew."""
        async with self._lock(key):
            if folders.exists(self.path(key)):
                await asyncio.to_thread(folders.discard, self.path(key))

    def _lock(self, key: MirrorKey) -> asyncio.Lock:
        return self._locks.setdefault(key.folder, asyncio.Lock())

    async def _read(self, git_dir: Path, *arguments: str, limit: int) -> command.Done:
        env = command.environment()
        return await command.run(self._threads, git_dir, *arguments, env=env, limit=limit)

    async def _fetch_healing(
        self, key: MirrorKey, remote: Remote, sha: str, ref: str, *, tip: bool = False
    ) -> str | None:
        """Fetch; once more into a new mirror where this one turns out damaged."""
        try:
            return await self._fetch_into(key, remote, sha, ref, tip=tip)
        except MirrorError as error:
            if not error.damaged:
                raise
            await asyncio.to_thread(folders.discard, self.path(key))
            return await self._fetch_into(key, remote, sha, ref, tip=tip)

    async def _fetch_into(
        self, key: MirrorKey, remote: Remote, sha: str, ref: str, *, tip: bool
    ) -> str | None:
        """Fetch a commit; with `tip` also where its branch is, which is given back."""
        git_dir = self.path(key)
        if not folders.exists(git_dir):
            await asyncio.to_thread(folders.create, git_dir, len(sha))
        await asking.knock(remote)
        done = await self._fetch_one(key, remote, sha, ref, tip=tip)
        if tip and done.code != 0 and f"find remote ref {ref}" in done.err:
            raise RefGoneError(ref)
        head = folders.read_ref(git_dir, _tip(ref)) if tip and done.code == 0 else None
        if done.code != 0 and re.search(r"unadvertised|not our ref", done.err):
            # The host gives only what a ref points at: the branch, if it still holds the commit.
            done = await self._fetch_one(key, remote, ref, ref)
            if done.code == 0 or "find remote ref" in done.err:
                await self._must_have(git_dir, sha, ref)
        if done.code != 0:
            raise failures.failure(
                "fetching the repository", done.err, url=remote.url, secrets=remote.env
            )
        reach("mirrors.fetched")
        folders.mark(git_dir, sha)
        await self._roll_up(git_dir)
        return head if ref.startswith("refs/heads/") else None  # a tag's own object is no commit

    async def _roll_up(self, git_dir: Path) -> None:
        """Now and then make one pack of the many small ones, which is quick: one comes a fetch.

        A failure costs only speed, and :meth:`maintain` will tell it.
        """
        if folders.packs(git_dir) > PACKS_KEPT:
            with contextlib.suppress(MirrorError):
                await self._read(git_dir, "repack", "--geometric=2", "-d", "--quiet", limit=65536)

    async def _must_have(self, git_dir: Path, sha: str, ref: str) -> None:
        found = await self._read(git_dir, "cat-file", "-e", sha, limit=1024)
        if found.code != 0:
            raise MirrorError(
                f"commit {sha[:12]} is no longer on the git host, and {ref} does not hold it: "
                "push again to start a run of what is there now",
                permanent=True,
            )

    async def _fetch_before(
        self, key: MirrorKey, remote: Remote, before: str | None, ref: str
    ) -> None:
        """Usually an ancestor, and here already; gone for good after a forced push."""
        if before is None or not spelling.SHA.fullmatch(before) or not before.strip("0"):
            return
        git_dir = self.path(key)
        if folders.marked(git_dir, before):
            return
        here = await self._read(git_dir, "cat-file", "-e", f"{before}^{{tree}}", limit=1024)
        if here.code != 0:
            done = await self._fetch_one(key, remote, before, f"before {ref}")
            if done.code == 0:
                folders.mark(git_dir, before)

    async def _fetch_one(
        self, key: MirrorKey, remote: Remote, wanted: str, ref: str, *, tip: bool = False
    ) -> command.Done:
        wants = {_ours(ref): wanted} | ({_tip(ref): ref} if tip else {})
        return await self._fetch(key, remote, wants)

    async def _fetch(
        self, key: MirrorKey, remote: Remote, wants: Mapping[str, str]
    ) -> command.Done:
        """One `git fetch`. A ref of our own keeps what was fetched alive, one for each theirs."""
        git_dir = self.path(key)
        for ours in wants:
            folders.unlock(git_dir / f"{ours}.lock")
        return await command.run(
            self._threads,
            git_dir,
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc"),
            *("--no-show-forced-updates", "--no-recurse-submodules", "--"),
            *(remote.url, *(f"+{theirs}:{ours}" for ours, theirs in wants.items())),
            env=command.environment(remote.protocols, remote.env, folders.trust(git_dir, remote)),
            limit=65536,
            timeout=self._fetch_timeout,
            lane=key.host,
        )


def _shorten(known: dict[Any, Any]) -> None:
    """Forget what was found ahead longest ago: nobody may ever ask for it."""
    while len(known) > AHEAD_SNAPSHOTS:
        del known[next(iter(known))]


def _ours(ref: str) -> str:
    return f"refs/lading/{hashlib.sha256(ref.encode()).hexdigest()[:32]}"


def _tip(ref: str) -> str:
    return _ours(ref).replace("/lading/", "/lading-tips/")
