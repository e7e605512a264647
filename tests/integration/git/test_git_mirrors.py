"""Mirrors of real repositories."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.hosts.port import Remote
from server.mirrors import (
    Head,
    MirrorError,
    MirrorKey,
    Mirrors,
    Pushed,
    RefGoneError,
    Wanted,
    asking,
    folders,
)
from server.mirrors import mirrors as mirrors_module
from tests.parts.git_server import GitServer, Repository, git, git_server

KEY = MirrorKey(host="Our Git", external_id="acme/web")
MAIN = "refs/heads/main"
DEFINITION = "test:\n  unit:\n    commands: ['true']\n"


def local(repository: Repository) -> Remote:
    return Remote(url=str(repository.bare), protocols="file")


def fetch(
    mirrors: Mirrors, remote: Remote, sha: str, ref: str = MAIN, before: str | None = None
) -> Path:
    return asyncio.run(mirrors.fetch(KEY, remote, sha=sha, ref=ref, before=before))


@pytest.fixture
def mirrors(folder: Path) -> Mirrors:
    return Mirrors(folder / "mirrors")


@pytest.fixture
def served(folder: Path) -> Iterator[GitServer]:
    with git_server(folder) as server:
        yield server


def test_a_pushed_commit_is_described_with_its_definitions(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed(
        {".lading.yml": DEFINITION, ".lading/docs.yml": "a", ".lading/notes.txt": "b", "x": "c"},
        "Add the cargo\n\nAnd say why.",
    )

    found = asyncio.run(mirrors.describe(fetch(mirrors, local(repository), sha), sha))

    assert found.definitions == {".lading.yml": DEFINITION.encode(), ".lading/docs.yml": b"a"}
    assert found.unreadable == {}
    assert found.sha == sha
    assert found.commit.title == "Add the cargo"
    assert found.commit.message == "Add the cargo\n\nAnd say why."
    assert found.commit.author == "Ada Lovelace"
    seconds = int(git(repository.work, "log", "-1", "--format=%ct"))
    assert found.commit.committed_at == datetime.fromtimestamp(seconds, UTC)


def test_a_commit_without_definitions_has_none(mirrors: Mirrors, repository: Repository) -> None:
    sha = repository.pushed({"README": "hi"})

    assert asyncio.run(mirrors.definitions(fetch(mirrors, local(repository), sha), sha)) == {}


def test_the_definition_is_that_of_the_pushed_commit_when_the_branch_has_moved_on(
    mirrors: Mirrors, repository: Repository
) -> None:
    old = repository.pushed({".lading.yml": "old"})
    repository.pushed({".lading.yml": "new"})

    git_dir = fetch(mirrors, local(repository), old)

    assert asyncio.run(mirrors.definitions(git_dir, old)) == {".lading.yml": b"old"}


def test_a_commit_that_a_forced_push_took_off_its_branch_is_still_fetched(
    mirrors: Mirrors, repository: Repository
) -> None:
    base = repository.pushed({"a": "1"})
    lost = repository.pushed({"a": "2"})
    git(repository.work, "reset", "--quiet", "--hard", base)
    kept = repository.pushed({"a": "3"})
    fetch(mirrors, local(repository), kept)

    git_dir = fetch(mirrors, local(repository), lost)

    assert asyncio.run(mirrors.commit(git_dir, lost)).title == "a change"


def test_a_commit_that_the_host_no_longer_has_is_told_so_for_good(
    mirrors: Mirrors, repository: Repository
) -> None:
    repository.pushed({"a": "1"})

    with pytest.raises(MirrorError, match="no longer on the git host, and refs/heads/main") as seen:
        fetch(mirrors, local(repository), "0123456789" * 4)

    assert seen.value.permanent


def test_a_host_that_gives_no_single_commits_is_asked_for_the_ref(
    mirrors: Mirrors, repository: Repository
) -> None:
    # With protocol 0 git gives only what refs point at, as servers behind old proxies do.
    old = repository.pushed({".lading.yml": "old"})
    repository.pushed({".lading.yml": "new"})
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.version",
        "GIT_CONFIG_VALUE_0": "0",
    }

    git_dir = fetch(mirrors, local(repository).model_copy(update={"env": env}), old)

    assert asyncio.run(mirrors.definitions(git_dir, old)) == {".lading.yml": b"old"}


def test_a_commit_that_is_here_is_not_fetched_again(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({"a": "1"})
    git_dir = fetch(mirrors, local(repository), sha)
    repository.bare.rename(repository.bare.with_suffix(".gone"))

    assert fetch(mirrors, local(repository), sha, before="0" * 40) == git_dir


def test_fetches_of_one_repository_at_the_same_time_all_succeed(
    mirrors: Mirrors, repository: Repository
) -> None:
    shas = [repository.pushed({"a": str(number)}) for number in range(4)]
    remote = local(repository)

    async def all_at_once() -> set[Path]:
        wanted = [mirrors.fetch(KEY, remote, sha=sha, ref=MAIN) for sha in [*shas, *shas]]
        return set(await asyncio.gather(*wanted))

    assert asyncio.run(all_at_once()) == {mirrors.path(KEY)}


def test_what_changed_names_both_paths_of_a_rename(
    mirrors: Mirrors, repository: Repository
) -> None:
    before = repository.pushed({"src/old name.py": "x" * 200, "keep": "1"})
    git(repository.work, "mv", "src/old name.py", "src/nouveau-é.py")
    sha = repository.pushed()
    git_dir = fetch(mirrors, local(repository), sha, before=before)

    found = asyncio.run(mirrors.changed(git_dir, before, sha))

    assert found == frozenset({"src/old name.py", "src/nouveau-é.py"})


def test_what_changed_is_known_after_a_forced_push(
    mirrors: Mirrors, repository: Repository
) -> None:
    base = repository.pushed({"a": "1", "b": "1"})
    before = repository.pushed({"a": "2"})
    git(repository.work, "reset", "--quiet", "--hard", base)
    sha = repository.pushed({"b": "2"})
    git_dir = fetch(mirrors, local(repository), sha, before=before)

    assert asyncio.run(mirrors.changed(git_dir, before, sha)) == frozenset({"a", "b"})


def test_a_pull_request_is_compared_with_where_it_left_its_base(
    mirrors: Mirrors, repository: Repository
) -> None:
    start = repository.pushed({"a": "1"})
    base = repository.pushed({"main-went-on": "1"})
    git(repository.work, "checkout", "--quiet", "-b", "topic", start)
    sha = repository.commit({"topic": "1"})
    repository.push("HEAD:refs/pull/7/head")
    git_dir = fetch(mirrors, local(repository), sha, "refs/pull/7/head", before=base)

    assert asyncio.run(mirrors.changed(git_dir, base, sha, from_merge_base=True)) == frozenset(
        {"topic"}
    )


@pytest.mark.parametrize("before", [None, "0" * 40, "0123456789" * 4, "--output=pwned"])
def test_what_changed_is_unknown_without_a_commit_before(
    mirrors: Mirrors, repository: Repository, before: str | None
) -> None:
    sha = repository.pushed({"a": "1"})
    git_dir = fetch(mirrors, local(repository), sha, before=before)

    assert asyncio.run(mirrors.changed(git_dir, before, sha)) is None


def test_an_annotated_tag_is_described_as_the_commit_it_points_at(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({".lading.yml": DEFINITION})
    git(repository.work, "tag", "-a", "-m", "first", "v1")
    repository.push("refs/tags/v1")
    tag = git(repository.work, "rev-parse", "v1")

    found = asyncio.run(
        mirrors.describe(fetch(mirrors, local(repository), tag, "refs/tags/v1"), tag)
    )

    assert (found.sha, found.definitions) == (sha, {".lading.yml": DEFINITION.encode()})


def test_a_tag_of_a_single_file_is_told_to_be_no_commit(
    mirrors: Mirrors, repository: Repository
) -> None:
    repository.pushed({"a": "1"})
    blob = git(repository.work, "rev-parse", "HEAD:a")
    git(repository.work, "tag", "odd", blob)
    repository.push("refs/tags/odd")
    git_dir = fetch(mirrors, local(repository), blob, "refs/tags/odd")

    with pytest.raises(MirrorError, match="is no commit") as seen:
        asyncio.run(mirrors.describe(git_dir, blob))

    assert seen.value.permanent


def test_links_are_not_followed_to_a_definition(
    mirrors: Mirrors, repository: Repository, folder: Path
) -> None:
    (folder / "secret").write_text("stolen")
    repository.write({"a": "1", ".lading/good.yml": "good"})
    (repository.work / ".lading.yml").symlink_to(folder / "secret")
    (repository.work / ".lading" / "evil.yml").symlink_to("/etc/passwd")
    sha = repository.pushed()

    found = asyncio.run(mirrors.describe(fetch(mirrors, local(repository), sha), sha))

    assert found.definitions == {".lading/good.yml": b"good"}
    assert set(found.unreadable) == {".lading.yml", ".lading/evil.yml"}
    assert "is a symbolic link" in found.unreadable[".lading.yml"]


def test_a_folder_of_definitions_that_is_a_link_is_not_followed(
    mirrors: Mirrors, repository: Repository
) -> None:
    repository.write({"real/evil.yml": "evil"})
    (repository.work / ".lading").symlink_to("real")
    sha = repository.pushed()

    found = asyncio.run(mirrors.describe(fetch(mirrors, local(repository), sha), sha))

    assert (found.definitions, set(found.unreadable)) == ({}, {".lading"})


def test_a_definition_over_the_limit_is_left_out_and_the_others_are_read(
    mirrors: Mirrors, repository: Repository
) -> None:
    big = b"#" * (1024 * 1024 + 1)
    sha = repository.pushed(
        {".lading/a.yml": "a", ".lading/big.yml": big, ".lading/limit.yml": big[1:]}
    )

    found = asyncio.run(mirrors.describe(fetch(mirrors, local(repository), sha), sha))

    assert set(found.definitions) == {".lading/a.yml", ".lading/limit.yml"}
    assert found.unreadable == {".lading/big.yml": "is larger than 1024 KiB"}


def test_at_most_a_hundred_definitions_are_read(mirrors: Mirrors, repository: Repository) -> None:
    sha = repository.pushed({f".lading/{number:03}.yml": "a" for number in range(101)})

    found = asyncio.run(mirrors.describe(fetch(mirrors, local(repository), sha), sha))

    assert len(found.definitions) == 100
    assert set(found.unreadable) == {".lading/100.yml"}


def test_the_archive_holds_what_the_repository_wants_left_out(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed(
        {
            ".gitattributes": "secret export-ignore\nv export-subst\n",
            "secret": "s",
            "v": "$Format:%H$",
        }
    )
    git_dir = fetch(mirrors, local(repository), sha)

    archive = subprocess.check_output(["git", f"--git-dir={git_dir}", "archive", sha])

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile("v")
        assert set(tar.getnames()) == {".gitattributes", "secret", "v"}
        assert member is not None
        assert member.read() == b"$Format:%H$"


@pytest.mark.parametrize(
    "sha",
    ["--upload-pack=touch pwned", "HEAD", "main:x", "ABCDEF0123" * 4, "0123456789" * 4 + "\n", ""],
)
def test_what_is_no_commit_id_never_reaches_git(
    mirrors: Mirrors, repository: Repository, folder: Path, sha: str
) -> None:
    with pytest.raises(MirrorError, match="is no commit id") as seen:
        fetch(mirrors, local(repository), sha)

    assert seen.value.permanent
    assert not list(folder.rglob("pwned"))


@pytest.mark.parametrize(
    "ref",
    [
        "--upload-pack=touch pwned",
        "main",
        "refs/heads/../../x",
        "refs/heads/a:refs/heads/b",
        "refs/heads/*",
        "refs/heads/a b",
        "refs/heads/a\n",
        "refs/.hidden",
        "refs/heads/",
        "refs/heads/a.lock",
        "refs/heads/" + "a" * 1024,
    ],
)
def test_what_is_no_ref_name_never_reaches_git(
    mirrors: Mirrors, repository: Repository, folder: Path, ref: str
) -> None:
    sha = repository.pushed({"a": "1"})

    with pytest.raises(MirrorError, match="is no ref name"):
        fetch(mirrors, local(repository), sha, ref)

    assert not list(folder.rglob("pwned"))


@pytest.mark.parametrize(
    ("url", "protocols"),
    [
        ("ext::sh -c 'touch {}/pwned'", "https:ssh:http"),
        ("ext::sh -c 'touch {}/pwned'", "file"),
        ("--upload-pack=touch {}/pwned", "file"),
        ("ssh://-oProxyCommand=touch%20{}%2Fpwned/x", "https:ssh:http"),
        ("-oProxyCommand=touch {}/pwned:x", "https:ssh:http"),
    ],
)
def test_a_hostile_address_runs_nothing(
    mirrors: Mirrors, repository: Repository, folder: Path, url: str, protocols: str
) -> None:
    sha = repository.pushed({"a": "1"})

    with pytest.raises(MirrorError):
        fetch(mirrors, Remote(url=url.format(folder), protocols=protocols), sha)

    assert not list(folder.rglob("pwned"))


def test_a_folder_is_not_read_where_only_addresses_are_allowed(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({"a": "1"})

    with pytest.raises(MirrorError, match="not one that Lading fetches from") as seen:
        fetch(mirrors, Remote(url=f"file://{repository.bare}", protocols="https:ssh:http"), sha)

    assert seen.value.permanent


def test_names_chosen_by_strangers_name_no_folder(mirrors: Mirrors, folder: Path) -> None:
    key = MirrorKey(host="../../evil", external_id="../../../etc/passwd")

    assert mirrors.path(key).parent == folder / "mirrors"
    assert ".." not in key.folder
    assert key.folder != MirrorKey(host="evil", external_id="../../../etc/passwd").folder


def test_our_own_environment_does_not_reach_git(
    mirrors: Mirrors, repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = repository.pushed({".lading.yml": DEFINITION})
    monkeypatch.setenv("GIT_DIR", str(folder / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "nonsense")

    git_dir = fetch(mirrors, local(repository), sha)

    assert asyncio.run(mirrors.definitions(git_dir, sha)) == {".lading.yml": DEFINITION.encode()}


def test_a_repository_that_another_user_owns_is_read(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({".lading.yml": DEFINITION})
    stranger = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}

    git_dir = fetch(mirrors, local(repository).model_copy(update={"env": stranger}), sha)

    assert asyncio.run(mirrors.definitions(git_dir, sha)) == {".lading.yml": DEFINITION.encode()}


def test_a_tree_that_would_lead_out_of_the_workspace_is_refused(
    mirrors: Mirrors, repository: Repository
) -> None:
    repository.pushed({"a": "1"})
    blob = git(repository.work, "rev-parse", "HEAD:a")
    inner = git(repository.work, "mktree", stdin=f"100644 blob {blob}\tescaped\n")
    raw = b"40000 ..\0" + bytes.fromhex(inner)
    (repository.work.parent / "tree").write_bytes(raw)
    tree = git(repository.work, "hash-object", "-t", "tree", "-w", "--literally", "../tree")
    sha = git(repository.work, "commit-tree", "-m", "evil", tree)
    repository.push(f"{sha}:{MAIN}")

    with pytest.raises(MirrorError, match="git's checks refuse") as seen:
        fetch(mirrors, local(repository), sha)

    assert seen.value.permanent


def test_a_repository_with_sha256_ids_is_mirrored(mirrors: Mirrors, folder: Path) -> None:
    git(folder, "init", "--quiet", "--object-format=sha256", "new-work")
    git(folder, "init", "--quiet", "--bare", "--object-format=sha256", "new.git")
    (folder / "new-work" / ".lading.yml").write_text(DEFINITION)
    git(folder / "new-work", "add", ".")
    git(folder / "new-work", "commit", "--quiet", "-m", "long")
    git(folder / "new-work", "push", "--quiet", str(folder / "new.git"), "HEAD:refs/heads/main")
    sha = git(folder / "new-work", "rev-parse", "HEAD")

    git_dir = fetch(mirrors, Remote(url=str(folder / "new.git"), protocols="file"), sha)

    assert len(sha) == 64
    assert asyncio.run(mirrors.definitions(git_dir, sha)) == {".lading.yml": DEFINITION.encode()}


@pytest.mark.parametrize("kind", ["pack", "idx"])
def test_a_damaged_mirror_is_made_anew(mirrors: Mirrors, repository: Repository, kind: str) -> None:
    sha = repository.pushed({".lading.yml": DEFINITION})
    git_dir = fetch(mirrors, local(repository), sha)
    # What a power cut leaves: the file is there, its bytes are not.
    for damaged in (git_dir / "objects" / "pack").glob(f"*.{kind}"):
        damaged.chmod(0o600)
        damaged.write_bytes(b"")

    with pytest.raises(MirrorError) as seen:
        asyncio.run(mirrors.describe(git_dir, sha))
    again = fetch(mirrors, local(repository), sha)

    assert seen.value.damaged
    assert not seen.value.permanent
    assert asyncio.run(mirrors.definitions(again, sha)) == {".lading.yml": DEFINITION.encode()}


def test_locks_that_a_killed_git_has_left_hold_nobody_up(
    mirrors: Mirrors, repository: Repository
) -> None:
    fetch(mirrors, local(repository), repository.pushed({"a": "1"}))
    for ref in (mirrors.path(KEY) / "refs" / "lading").iterdir():
        ref.with_name(ref.name + ".lock").touch()
    sha = repository.pushed({"a": "2"})

    git_dir = fetch(mirrors, local(repository), sha)

    assert asyncio.run(mirrors.commit(git_dir, sha)).title == "a change"


def test_a_mirror_goes_on_after_maintenance(mirrors: Mirrors, repository: Repository) -> None:
    old = repository.pushed({"a": "1"})
    git_dir = fetch(mirrors, local(repository), old)
    asyncio.run(mirrors.maintain(KEY))
    sha = repository.pushed({"a": "2"})

    fetch(mirrors, local(repository), sha, before=old)

    assert list((git_dir / "objects" / "pack").glob("*.pack"))
    assert asyncio.run(mirrors.changed(git_dir, old, sha)) == frozenset({"a"})


def test_many_small_packs_are_made_one_in_passing(
    mirrors: Mirrors, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors_module, "PACKS_KEPT", 3)
    shas = [repository.pushed({"a": str(number)}) for number in range(6)]

    for sha in shas:
        git_dir = fetch(mirrors, local(repository), sha)

    assert len(list((git_dir / "objects" / "pack").glob("*.pack"))) <= 4
    assert [asyncio.run(mirrors.commit(git_dir, sha)).title for sha in shas] == ["a change"] * 6


def test_a_missing_repository_is_told_with_what_to_do(mirrors: Mirrors, folder: Path) -> None:
    remote = Remote(url=str(folder / "none.git"), protocols="file")

    with pytest.raises(MirrorError, match="was not found: check its name") as seen:
        fetch(mirrors, remote, "0123456789" * 4)

    assert seen.value.permanent


def credential(server: GitServer, password: str) -> dict[str, str]:
    token = base64.b64encode(f"lading:{password}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server.url}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
    }


def over_http(server: GitServer, env: dict[str, str] | None = None) -> Remote:
    return Remote(url=f"{server.url}/web.git", env=env or {}, protocols="https:ssh:http")


def test_a_repository_behind_a_password_is_fetched_with_it(
    mirrors: Mirrors, repository: Repository, served: GitServer
) -> None:
    sha = repository.pushed({".lading.yml": DEFINITION})
    served.password = "open sesame"

    git_dir = fetch(mirrors, over_http(served, credential(served, "open sesame")), sha)

    assert asyncio.run(mirrors.definitions(git_dir, sha)) == {".lading.yml": DEFINITION.encode()}
    assert "open" not in (git_dir / "config").read_text()


@pytest.mark.parametrize("password", [None, "wrong password"])
def test_a_refused_login_is_told_without_the_credential(
    mirrors: Mirrors, repository: Repository, served: GitServer, password: str | None
) -> None:
    sha = repository.pushed({"a": "1"})
    served.password = "open sesame"
    env = credential(served, password) if password else {}

    with pytest.raises(MirrorError, match="the git host refused us") as seen:
        fetch(mirrors, over_http(served, env), sha)

    assert seen.value.permanent
    assert env.get("GIT_CONFIG_VALUE_0", "no credential").split()[-1] not in str(seen.value)


def test_a_credential_does_not_follow_a_redirect(
    mirrors: Mirrors, repository: Repository, served: GitServer, folder: Path
) -> None:
    sha = repository.pushed({"a": "1"})
    with git_server(folder) as other:
        served.redirect_to = other.url

        with pytest.raises(MirrorError, match="sent us to another address") as seen:
            fetch(mirrors, over_http(served, credential(served, "open sesame")), sha)

    assert seen.value.permanent
    assert served.seen
    assert other.seen == []


def test_a_host_that_is_down_is_worth_another_try(mirrors: Mirrors) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/web.git"

        with pytest.raises(MirrorError, match="cannot be reached") as seen:
            fetch(mirrors, Remote(url=url, protocols="http"), "0123456789" * 4)

    assert not seen.value.permanent


def test_a_host_that_takes_no_connection_is_given_up_soon(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CONNECT_TIMEOUT", 0.2)
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        waiting = [stack.enter_context(socket.socket()) for _ in range(4)]
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in waiting:  # fill the queue of connections, so that the next gets no answer
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/web.git"

        with pytest.raises(MirrorError, match="no answer within") as seen:
            fetch(mirrors, Remote(url=url, protocols="http"), "0123456789" * 4)

    assert not seen.value.permanent


def ahead(mirrors: Mirrors, remote: Remote, *wanted: Wanted) -> None:
    asyncio.run(mirrors.fetch_ahead(KEY, remote, wanted))


def test_many_commits_of_many_branches_are_fetched_in_one_visit_and_then_found_at_once(
    mirrors: Mirrors, repository: Repository, served: GitServer
) -> None:
    remote = Remote(url=f"{served.url}/web.git", protocols="http")
    base = repository.pushed({".lading.yml": DEFINITION})
    wanted = []
    for branch in ("a", "b"):
        git(repository.work, "checkout", "--quiet", "-B", branch, base)
        before = base
        for number in range(3):
            sha = repository.commit({f"{branch}{number}": "x"})
            ref = f"refs/heads/{branch}"
            wanted.append(Wanted(sha=sha, ref=ref, before=before))
            before = sha
        repository.push(f"HEAD:refs/heads/{branch}")

    ahead(mirrors, remote, *wanted)
    visits = len(served.seen)

    for one in wanted:
        git_dir = fetch(mirrors, remote, one.sha, one.ref, before=one.before)
        assert ".lading.yml" in asyncio.run(mirrors.definitions(git_dir, one.sha))
        assert asyncio.run(mirrors.changed(git_dir, one.before, one.sha)) is not None
    assert len(served.seen) == visits  # nobody went there again


def test_a_commit_that_no_fetched_one_stands_on_is_fetched_by_itself(
    mirrors: Mirrors, repository: Repository
) -> None:
    base = repository.pushed({"a": "1"})
    lost = repository.commit({"a": "2"})
    repository.push("HEAD:refs/keep/lost")
    git(repository.work, "reset", "--quiet", "--hard", base)
    kept = repository.pushed({"a": "3"})
    remote = local(repository)

    ahead(
        mirrors,
        remote,
        Wanted(sha=lost, ref=MAIN, before=base),
        Wanted(sha=kept, ref=MAIN, before=lost),
    )

    git_dir = mirrors.path(KEY)
    assert folders.marked(git_dir, kept)
    assert not folders.marked(git_dir, lost)
    assert asyncio.run(mirrors.describe(fetch(mirrors, remote, lost), lost)).sha == lost


def test_one_commit_that_is_gone_leaves_the_others_to_be_fetched_one_by_one(
    mirrors: Mirrors, repository: Repository
) -> None:
    there = repository.pushed({"a": "1"})
    remote = local(repository)

    with pytest.raises(MirrorError):
        ahead(
            mirrors,
            remote,
            Wanted(sha=there, ref=MAIN),
            Wanted(sha="e" * 40, ref="refs/heads/gone"),
        )

    assert asyncio.run(mirrors.describe(fetch(mirrors, remote, there), there)).sha == there


def test_an_ancestor_is_told_from_a_commit_that_is_none(
    mirrors: Mirrors, repository: Repository
) -> None:
    first, second = repository.pushed({"a": "1"}), repository.pushed({"a": "2"})
    git_dir = fetch(mirrors, local(repository), second)

    def holds(of: str, sha: str) -> bool:
        return asyncio.run(mirrors.is_ancestor(git_dir, sha, of))

    assert holds(second, first)
    assert holds(first, first)
    assert not holds(first, second)
    assert not holds(first, "e" * 40)


def test_the_head_of_any_ref_is_asked_of_the_host(mirrors: Mirrors, repository: Repository) -> None:
    sha = repository.pushed({"a": "1"})
    repository.push("HEAD:refs/pull/7/head")
    git(repository.work, "tag", "--annotate", "v1", "--message", "x")
    repository.push("v1")

    def head(ref: str) -> str | None:
        return asyncio.run(mirrors.head(KEY, local(repository), ref))

    assert [head(MAIN), head("refs/pull/7/head"), head("refs/tags/v1")] == [sha] * 3
    assert head("refs/heads/none") is None


def fetch_pushed(mirrors: Mirrors, remote: Remote, sha: str, ref: str = MAIN) -> Pushed:
    return asyncio.run(mirrors.fetch_pushed(KEY, remote, sha=sha, ref=ref))


@pytest.mark.parametrize("here_already", [True, False])
def test_a_pushed_commit_comes_with_where_its_branch_is_by_now(
    mirrors: Mirrors, repository: Repository, here_already: bool
) -> None:
    old = repository.pushed({".lading.yml": "old"})
    if here_already:
        fetch(mirrors, local(repository), old)
    new = repository.pushed({".lading.yml": "new"})

    found = fetch_pushed(mirrors, local(repository), old)

    assert found.head == new
    assert asyncio.run(mirrors.definitions(found.git_dir, old)) == {".lading.yml": b"old"}


@pytest.mark.parametrize("here_already", [True, False])
@pytest.mark.parametrize("ref", ["refs/heads/side", "refs/tags/v1"])
def test_a_ref_that_was_deleted_is_told_though_its_commit_can_be_had(
    mirrors: Mirrors, repository: Repository, ref: str, here_already: bool
) -> None:
    sha = repository.pushed({"a": "1"})
    if here_already:
        fetch(mirrors, local(repository), sha)

    with pytest.raises(RefGoneError, match=ref):
        fetch_pushed(mirrors, local(repository), sha, ref)


def test_a_pushed_commit_that_is_here_needs_no_host_that_answers(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({"a": "1"})
    fetch(mirrors, local(repository), sha)
    away = Remote(url="http://127.0.0.1:1/gone.git", protocols="http")

    assert fetch_pushed(mirrors, away, sha).head is None


def test_a_host_that_gives_no_single_commits_still_gives_what_was_pushed(
    mirrors: Mirrors, repository: Repository
) -> None:
    old = repository.pushed({".lading.yml": "old"})
    repository.pushed({".lading.yml": "new"})
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.version",
        "GIT_CONFIG_VALUE_0": "0",
    }

    found = fetch_pushed(mirrors, local(repository).model_copy(update={"env": env}), old)

    assert asyncio.run(mirrors.definitions(found.git_dir, old)) == {".lading.yml": b"old"}


def test_heads_are_branches_and_tags_with_the_commits_that_annotated_tags_name(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({"a": "1"})
    git(repository.work, "tag", "plain")
    git(repository.work, "tag", "-a", "signed", "-m", "by hand")
    repository.push("refs/tags/*:refs/tags/*", "HEAD:refs/pull/1/head")
    tag = git(repository.work, "rev-parse", "signed")

    found = asyncio.run(mirrors.heads(KEY, local(repository)))

    assert found == {
        "refs/heads/main": Head(object=sha, commit=sha),
        "refs/tags/plain": Head(object=sha, commit=sha),
        "refs/tags/signed": Head(object=tag, commit=sha),
    }
    assert asyncio.run(mirrors.heads(KEY, local(repository), "refs/tags/signed")) == {
        "refs/tags/signed": Head(object=tag, commit=sha)
    }
