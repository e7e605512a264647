"""Bases for templates, made of what this machine has of a language: for tests alone.

They hold the distribution's files and pip's own, and never this machine's CA certificates.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from scripts.parts.base_image import MADE_BY, add_busybox, python_layer
from scripts.parts.errors import PartError, program
from scripts.parts.layers import Layer, ensure, shared_libraries

PIP = "lading/python-pip:local"
NODE = "lading/node:local"
GO = "lading/go:local"

_NODE_FOLDERS = ("/usr/share/nodejs", "/usr/share/node_modules")
"""Where Debian keeps parts of node itself, and npm."""
_PIP_COMMAND = """#!/usr/local/bin/python3
from pip._internal.cli.main import main

raise SystemExit(main())
"""


def python_with_pip(docker_url: str) -> str:
    """The name of an image with this machine's Python, and pip as it was published."""
    made_by = f"{MADE_BY} pip {_pip().version}"
    return ensure(
        docker_url, PIP, command="python3", made_by=made_by, make=lambda: python_layer(_add_pip)
    )


def node(docker_url: str) -> str:
    """The name of an image with this machine's node and npm, and busybox."""
    made_by = f"1 {_told(program('node'), '--version')}"
    return ensure(docker_url, NODE, command="node", made_by=made_by, make=_node_layer)


def go(docker_url: str) -> str:
    """The name of an image with this machine's Go and the sources of its library, and busybox."""
    made_by = f"1 {_told(program('go'), 'version')}"
    return ensure(docker_url, GO, command="go", made_by=made_by, make=_go_layer)


def _told(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _pip() -> Distribution:
    try:
        return distribution("pip")
    except PackageNotFoundError:
        raise PartError("pip is not in .venv: remove the folder and run scripts/setup") from None


def _add_pip(layer: Layer) -> None:
    """Pip's files, each with the hash that its publisher wrote down."""
    site = f"usr/local/lib/python{_version()}/site-packages"
    for file in _pip().files or ():
        source = Path(file.locate())
        if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
            continue
        if file.hash is not None and file.hash.value != _hash(source):
            raise PartError(f"{source} is not as pip was published: it stays out of any image")
        layer.copy(source, f"{site}/{file}")
    layer.text("usr/local/bin/pip", _PIP_COMMAND, mode=0o755)


def _version() -> str:
    return MADE_BY.split()[1].rpartition(".")[0]


def _hash(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _node_layer() -> bytes:
    layer = Layer()
    add_busybox(layer)
    binary = Path(program("node")).resolve()
    layer.copy(binary, "usr/bin/node")
    for name, source in sorted(shared_libraries([binary])):
        layer.copy(source, name)
    command = Path(program("npm")).resolve()
    for folder in {str(_package_of(command)), *filter(os.path.isdir, _NODE_FOLDERS)}:
        for path in _files(Path(folder)):
            layer.copy(path, str(path).lstrip("/"))
    layer.link("usr/bin/npm", str(command))
    # npm's first line wants it.
    layer.link("usr/bin/env", "/bin/env")
    return layer.close()


def _package_of(command: Path) -> Path:
    return next(folder for folder in command.parents if folder.name == "npm")


def _go_layer() -> bytes:
    layer = Layer()
    add_busybox(layer)
    root = Path(_told(program("go"), "env", "GOROOT"))
    # Without what was built before: the compiler makes its library as a program needs it.
    for part in ("bin", "pkg/include", "pkg/tool", "src", "VERSION"):
        for path in _files(root / part):
            # Neither tests nor the sources of the compiler itself.
            tested = path.name.endswith("_test.go") or "testdata" in path.parts
            if not tested and not path.is_relative_to(root / "src" / "cmd"):
                layer.copy(path, f"usr/local/go/{path.relative_to(root)}")
    for name in ("go", "gofmt"):
        layer.link(f"usr/local/bin/{name}", f"/usr/local/go/bin/{name}")
    binaries = [(root / "bin" / "go").resolve()]
    for name, source in sorted(shared_libraries(binaries)):
        layer.copy(source, name)
    return layer.close()


def _files(path: Path) -> Iterator[Path]:
    """Every file below a path, links followed, in a fixed order."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        paths = (Path(folder) / name for name in sorted(names))
        yield from (path for path in paths if path.is_file())
