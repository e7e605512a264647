"""Base images made from the machine itself, where no registry can be reached to pull one.

Both hold only the machine's own distribution files, and never its CA certificates: what is built
on them may be pushed.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from scripts.parts.errors import PartError, program, say

BUSYBOX = "lading/busybox:local"
PYTHON = "lading/python:local"

_LABEL = "dev.lading.parts"
_MADE_BY = f"2 {platform.python_version()}"
"""Images made by another version of this file, or from another Python, are made again."""

_PATH = "/usr/local/bin:/usr/bin:/bin"
_LEFT_OUT = {
    *("__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages"),
    *("test", "tests", "tkinter", "turtledemo"),
}


def busybox(docker_url: str) -> str:
    """The name of a 2 MB image with a shell and the usual tools, made where it is missing."""
    return _ensure(docker_url, BUSYBOX, "sh", _busybox_layer)


def python(docker_url: str) -> str:
    """The name of an image with this machine's Python and its standard library, and busybox.

    No third-party package is in it, and no pip; about 80 MB.
    """
    return _ensure(docker_url, PYTHON, "python3", _python_layer)


def _ensure(docker_url: str, name: str, command: str, make: Callable[[], bytes]) -> str:
    with contextlib.closing(docker.DockerClient(base_url=docker_url, timeout=120)) as client:
        if _is_current(client, name):
            return name
        say(f"making the base image {name} from this machine's own files")
        changes = [f'CMD ["{command}"]', f"ENV PATH={_PATH}", f'LABEL {_LABEL}="{_MADE_BY}"']
        repository, tag = name.split(":")
        answer = client.api.import_image_from_data(make(), repository, tag, changes)
        if "error" in answer:
            raise PartError(f"The engine did not take the base image {name}: {answer.strip()}")
    return name


def _is_current(client: docker.DockerClient, name: str) -> bool:
    try:
        return bool(client.images.get(name).labels.get(_LABEL) == _MADE_BY)
    except ImageNotFound:
        return False


class _Layer:
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

    def text(self, name: str, content: str) -> None:
        """A small file with this text."""
        self._file(name, content.encode(), 0o644)

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


def _busybox_layer() -> bytes:
    layer = _Layer()
    _add_busybox(layer)
    return layer.close()


def _add_busybox(layer: _Layer) -> None:
    source = Path(program("busybox"))
    layer.copy(source, "bin/busybox")
    listed = subprocess.run([source, "--list"], check=True, capture_output=True, text=True)
    for applet in listed.stdout.split():
        layer.link(f"bin/{applet}", "busybox")
    layer.folder("tmp", 0o1777)
    layer.folder("root", 0o700)
    layer.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")


def _python_layer() -> bytes:
    layer = _Layer()
    _add_busybox(layer)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys.executable).resolve()
    # Python finds its library beside its own place, so it may live elsewhere than here.
    layer.copy(interpreter, f"usr/local/bin/{version}")
    layer.link("usr/local/bin/python3", version)
    layer.link("usr/local/bin/python", "python3")
    binaries = [interpreter]
    library = Path(sysconfig.get_path("stdlib"))
    for source in _library_files(library):
        layer.copy(source, f"usr/local/lib/{version}/{source.relative_to(library)}")
        if source.suffix == ".so":
            binaries.append(source)
    for name, source in sorted(_shared_libraries(binaries)):
        layer.copy(source, name)
    return layer.close()


def _library_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _library_files(path)
        elif path.is_file():
            yield path


def _shared_libraries(binaries: Sequence[Path]) -> set[tuple[str, Path]]:
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
