"""Root file systems made of this machine's own files, and images made of them."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from scripts.parts.errors import PartError, program, say

LABEL = "dev.lading.parts"
PATH = "/usr/local/bin:/usr/bin:/bin"


def ensure(
    docker_url: str, name: str, *, command: str, made_by: str, make: Callable[[], bytes]
) -> str:
    """The name of the image, made where there is none that this very file made.

    Args:
        docker_url: The engine.
        name: With its tag.
        command: What a container of it runs.
        made_by: Versions of what goes in; another one, and it is made again.
        make: The root file system as a tar.
    """
    with contextlib.closing(docker.DockerClient(base_url=docker_url, timeout=120)) as client:
        if _is_current(client, name, made_by):
            return name
        say(f"making the base image {name} from this machine's own files")
        changes = [f'CMD ["{command}"]', f"ENV PATH={PATH}", f'LABEL {LABEL}="{made_by}"']
        repository, tag = name.split(":")
        answer = client.api.import_image_from_data(make(), repository, tag, changes)
        if "error" in answer:
            raise PartError(f"The engine did not take the base image {name}: {answer.strip()}")
    return name


def _is_current(client: docker.DockerClient, name: str, made_by: str) -> bool:
    try:
        return bool(client.images.get(name).labels.get(LABEL) == made_by)
    except ImageNotFound:
        return False


class Layer:
    """A root file system as a tar: same input, same bytes."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._bytes, mode="w", format=tarfile.GNU_FORMAT)
        self._names: set[str] = set()

    def close(self) -> bytes:
        """End the tar and hand it out."""
        self._tar.close()
        return self._bytes.getvalue()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """An empty folder, and those above it."""
        path = Path(name)
        if path.parent != Path():
            self.folder(str(path.parent))
        if entry := self._entry(name, mode):
            entry.type = tarfile.DIRTYPE
            self._tar.addfile(entry)

    def text(self, name: str, content: str, mode: int = 0o644) -> None:
        """A small file with this text."""
        self._file(name, content.encode(), mode)

    def copy(self, source: Path, name: str) -> None:
        """A file of this machine, links followed."""
        self._file(name, source.read_bytes(), 0o755 if source.stat().st_mode & 0o111 else 0o644)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self.folder(str(Path(name).parent))
        if entry := self._entry(name, 0o777):
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            self._tar.addfile(entry)

    def _file(self, name: str, content: bytes, mode: int) -> None:
        self.folder(str(Path(name).parent))
        if entry := self._entry(name, mode):
            entry.size = len(content)
            self._tar.addfile(entry, io.BytesIO(content))

    def _entry(self, name: str, mode: int) -> tarfile.TarInfo | None:
        if name in self._names:
            return None
        self._names.add(name)
        entry = tarfile.TarInfo(name)
        entry.mode = mode
        return entry


def shared_libraries(binaries: Sequence[Path]) -> set[tuple[str, Path]]:
    """Place in the image and file here of each library that the loader would take.

    They go to `/usr/lib`, which every loader searches; the loader itself keeps its place.
    """
    listed = subprocess.run(
        [program("ldd"), *binaries], check=False, capture_output=True, text=True
    )
    found = re.findall(r"^\s+(\S+) => (/\S+)", listed.stdout, re.MULTILINE)
    loaders = re.findall(r"^\s+(/\S+) \(0x", listed.stdout, re.MULTILINE)
    return {(f"usr/lib/{name}", Path(path)) for name, path in found} | {
        (path.lstrip("/"), Path(path)) for path in loaders
    }
