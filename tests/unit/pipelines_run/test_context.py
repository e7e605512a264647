from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

import pytest

from pipelines.images.context import (
    OUTSIDE_DOCKERFILE,
    ContextError,
    context_stream,
    read_context,
)
from pipelines.plan import BuildWork
from pipelines.tarstream import as_file, rewritten


class Files:
    """A commit's files in memory."""

    sha = "a" * 40

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    @contextmanager
    def archive(
        self, *, path: str = ".", prefix: str = "", umask: int = 0o022
    ) -> Iterator[IO[bytes]]:
        below = "" if path == "." else f"{path}/"
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, content in self._files.items():
                if name.startswith(below):
                    entry = tarfile.TarInfo(prefix + name[len(below) :])
                    entry.size, entry.mode = len(content), 0o666 & ~umask
                    tar.addfile(entry, io.BytesIO(content.encode()))
        yield io.BytesIO(data.getvalue())

    def read(self, path: str) -> bytes | None:
        found = self._files.get(path)
        return None if found is None else found.encode()

    def committed_at(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def changed_at(self, paths: Sequence[str]) -> datetime:  # noqa: ARG002 - all at once
        return self.committed_at()


def sent(files: Mapping[str, str], work: BuildWork | None = None) -> dict[str, str]:
    """What the builder would get."""
    source = Files(files)
    context = read_context(source, work or BuildWork())
    with context_stream(source, context) as stream:
        data = io.BytesIO(b"".join(stream))
    with tarfile.open(fileobj=data) as tar:
        return {
            entry.name: content.read().decode()
            for entry in tar
            if (content := tar.extractfile(entry))
        }


def test_everything_is_sent_where_nothing_is_ignored() -> None:
    files = {"Dockerfile": "FROM x", "a/b.txt": "b"}
    assert sent(files) == files


def test_ignored_files_stay_behind_and_exceptions_go() -> None:
    files = {
        "Dockerfile": "FROM x",
        ".dockerignore": "# a comment\n\ndocs\n!docs/README.md\n**/*.log\n",
        "docs/a.md": "",
        "docs/README.md": "r",
        "deep/down/x.log": "",
        "DOCS/b": "",
        "main.py": "m",
    }
    assert set(sent(files)) == {
        "Dockerfile",
        ".dockerignore",
        "docs/README.md",
        "DOCS/b",
        "main.py",
    }


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("/a", {"b/a", "b/c.log"}),
        ("a/", {"b/a", "b/c.log"}),
        ("./b", {"a"}),
        ("x/../b", {"a"}),
        ("*/*.log", {"a", "b/a"}),
        ("**/a", {"b/c.log"}),
        ("[^b]", {"b/a", "b/c.log"}),
        (".", {"a", "b/a", "b/c.log"}),
    ],
)
def test_rules_are_read_as_docker_reads_them(line: str, left: set[str]) -> None:
    files = {"Dockerfile": "F", ".dockerignore": line, "a": "", "b/a": "", "b/c.log": ""}
    assert set(sent(files)) - {"Dockerfile", ".dockerignore"} == left


def test_a_hostile_rule_costs_no_time() -> None:
    files = {"Dockerfile": "F", ".dockerignore": "*a" * 40 + "\n", "a" * 90 + "b": ""}
    assert "a" * 90 + "b" in sent(files)


def test_the_dockerfile_is_sent_even_where_all_is_ignored() -> None:
    assert set(sent({"Dockerfile": "F", ".dockerignore": "*\n", "x": ""})) == {
        "Dockerfile",
        ".dockerignore",
    }


def test_rules_beside_the_dockerfile_come_first() -> None:
    files = {
        "docker/web": "FROM x",
        "docker/web.dockerignore": "b\n",
        ".dockerignore": "a\n",
        "a": "",
        "b": "",
    }
    assert {"a", "docker/web"} <= set(sent(files, BuildWork(dockerfile="docker/web")))
    assert "b" not in sent(files, BuildWork(dockerfile="docker/web"))


def test_a_folder_is_sent_under_its_own_root() -> None:
    files = {"docs/Dockerfile": "FROM x", "docs/a": "a", "other": ""}
    work = BuildWork(dockerfile="docs/Dockerfile", context="docs")
    assert sent(files, work) == {"Dockerfile": "FROM x", "a": "a"}


def test_a_dockerfile_outside_its_context_is_sent_along_and_hidden_from_copy() -> None:
    files = {"build/Dockerfile": "FROM x", "docs/a": "a"}
    got = sent(files, BuildWork(dockerfile="build/Dockerfile", context="docs"))
    assert got == {
        "a": "a",
        OUTSIDE_DOCKERFILE: "FROM x",
        ".dockerignore": f".dockerignore\n{OUTSIDE_DOCKERFILE}\n",
    }


def test_a_missing_dockerfile_is_told_with_path_and_commit() -> None:
    with pytest.raises(ContextError, match="there is no web/Dockerfile at commit aaaaaaaaaaaa"):
        read_context(Files({}), BuildWork(dockerfile="web/Dockerfile"))


@pytest.mark.parametrize(
    "work",
    [
        BuildWork(context="../.."),
        BuildWork(context="/etc"),
        BuildWork(dockerfile="/etc/passwd"),
        BuildWork(dockerfile="a/../../Dockerfile"),
    ],
)
def test_a_path_out_of_the_repository_is_refused(work: BuildWork) -> None:
    with pytest.raises(ContextError, match="leads out of the repository"):
        read_context(Files({"Dockerfile": ""}), work)


def test_a_rewritten_archive_keeps_links_modes_and_large_files() -> None:
    data = io.BytesIO()
    large = bytes(range(256)) * 4000
    with tarfile.open(fileobj=data, mode="w") as tar:
        file = tarfile.TarInfo("n" * 150)
        file.size, file.mode, file.mtime = len(large), 0o755, 1_700_000_000
        tar.addfile(file, io.BytesIO(large))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    stream = as_file(rewritten(io.BytesIO(data.getvalue()), lambda entry: entry))
    with tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
        first, second = tar.getmembers()
        content = tar.extractfile(first)
        assert content is not None
        assert content.read() == large
        assert (first.name, first.mode, first.mtime) == ("n" * 150, 0o755, 1_700_000_000)
        assert (second.type, second.linkname) == (tarfile.SYMTYPE, "/etc/shadow")


def rendered_work(**fields: object) -> BuildWork:
    return BuildWork(template="plain", rendered="FROM y\n", **fields)  # type: ignore[arg-type]  # of the model


def test_a_rendered_dockerfile_leaves_the_repositorys_own_alone() -> None:
    files = {"Dockerfile": "FROM x", "a": "a"}
    assert sent(files, rendered_work()) == {
        **files,
        OUTSIDE_DOCKERFILE: "FROM y\n",
        ".dockerignore": f".dockerignore\n{OUTSIDE_DOCKERFILE}\n",
    }


def test_a_rendered_dockerfile_takes_a_name_that_the_folder_does_not_have() -> None:
    files = {f"web/{OUTSIDE_DOCKERFILE}": "theirs", f"{OUTSIDE_DOCKERFILE}-2": "elsewhere"}
    assert sent(files, rendered_work(context="web")) == {
        OUTSIDE_DOCKERFILE: "theirs",
        f"{OUTSIDE_DOCKERFILE}-2": "FROM y\n",
        ".dockerignore": f".dockerignore\n{OUTSIDE_DOCKERFILE}-2\n",
    }


def test_a_folder_of_the_name_does_not_hide_the_rendered_dockerfile() -> None:
    got = sent({f"{OUTSIDE_DOCKERFILE}/x": "theirs", "a": "a"}, rendered_work())
    assert got[OUTSIDE_DOCKERFILE] == "FROM y\n"
    assert f"{OUTSIDE_DOCKERFILE}/x" not in got


def test_rules_hold_for_a_rendered_dockerfile_and_stay_out_of_the_image() -> None:
    files = {".dockerignore": "*.log\n!.dockerignore\n", "a.log": "", "a": "a"}
    got = sent(files, rendered_work())
    assert "a.log" not in got
    assert got[".dockerignore"].splitlines()[-2:] == [".dockerignore", OUTSIDE_DOCKERFILE]


def test_only_the_files_named_are_sent_with_what_lies_in_them() -> None:
    files = {"src/a": "", "src/b/c": "", "srcs": "", "etc/x": "", "etc/y": "", "z": ""}
    got = sent(files, rendered_work(files=("src", "etc/x")))
    assert set(got) == {"src/a", "src/b/c", "etc/x", OUTSIDE_DOCKERFILE, ".dockerignore"}


def test_a_plan_that_was_stored_before_there_were_templates_is_still_a_plan() -> None:
    old: dict[str, object] = {
        "kind": "build",
        "dockerfile": "Dockerfile",
        "context": ".",
        "target": None,
        "args": {},
    }
    work = BuildWork.model_validate(old)
    assert (work.rendered, work.recipe) == (None, "Dockerfile")
