"""Base images made from the machine itself, where no registry can be reached to pull one.

Both hold only the machine's own distribution files, and never its CA certificates: what is built
on them may be pushed.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.parts.errors import program
from scripts.parts.layers import Layer, ensure, shared_libraries

BUSYBOX = "lading/busybox:local"
PYTHON = "lading/python:local"

MADE_BY = f"2 {platform.python_version()}"
"""Images made by another version of this file, or from another Python, are made again."""

_LEFT_OUT = {
    *("__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages"),
    *("test", "tests", "tkinter", "turtledemo"),
}


def busybox(docker_url: str) -> str:
    """The name of a 2 MB image with a shell and the usual tools, made where it is missing."""
    return ensure(docker_url, BUSYBOX, command="sh", made_by=MADE_BY, make=_busybox_layer)


def python(docker_url: str) -> str:
    """The name of an image with this machine's Python and its standard library, and busybox.

    No third-party package is in it, and no pip; about 80 MB.
    """
    return ensure(docker_url, PYTHON, command="python3", made_by=MADE_BY, make=python_layer)


def _busybox_layer() -> bytes:
    layer = Layer()
    add_busybox(layer)
    return layer.close()


def add_busybox(layer: Layer) -> None:
    """A shell and the usual tools."""
    source = Path(program("busybox"))
    layer.copy(source, "bin/busybox")
    listed = subprocess.run([source, "--list"], check=True, capture_output=True, text=True)
    for applet in listed.stdout.split():
        layer.link(f"bin/{applet}", "busybox")
    layer.folder("tmp", 0o1777)
    layer.folder("root", 0o700)
    layer.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")


def python_layer(more: Callable[[Layer], None] | None = None) -> bytes:
    """Python with its library and busybox, and what else is put on top."""
    layer = Layer()
    add_busybox(layer)
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
    for name, source in sorted(shared_libraries(binaries)):
        layer.copy(source, name)
    if more is not None:
        more(layer)
    return layer.close()


def _library_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _library_files(path)
        elif path.is_file():
            yield path
