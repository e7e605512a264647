"""The real parts, once for a whole run of the tests; `tests/unit` asks for none of them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import hypothesis
import pytest

from scripts.parts import base_image, language_images
from scripts.parts.engine import engine
from scripts.parts.errors import PartError
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry

ROOT = Path(__file__).parent.parent
UNIT = Path(__file__).parent / "unit"
# Loaded now: its plugin would load it behind the last test, where Python 3.11's parser, once a
# thread was ended in the middle of it, may refuse ("AST constructor recursion depth mismatch").
hypothesis.settings.register_profile("lading", deadline=None)
hypothesis.settings.load_profile("lading")

PARTS = frozenset(
    {"engine_url", "docker_client", "registry", "busybox_image", "python_image"}
    | {"pip_image", "node_image", "go_image"}
)

# A person's own settings must not reach the tests, nor their git identity and hooks' variables.
for name in [name for name in os.environ if name.startswith(("LADING_", "GIT_"))]:
    del os.environ[name]
os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
# A shell ignores Ctrl-C in what it runs in its background; what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in `tests/unit` are pure: one that asks for a real part is in the wrong folder."""
    for item in items:
        if not item.path.is_relative_to(UNIT) or not isinstance(item, pytest.Function):
            continue
        asked = sorted(PARTS.intersection(item.fixturenames))
        if asked:
            message = f"{item.nodeid} asks for {', '.join(asked)}: move it to tests/integration"
            raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """The URL of a real container engine."""
    with _parts():
        running = engine(ROOT / ".lading" / "engine")
        url = running.__enter__()
    try:
        yield url
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def docker_client(engine_url: str) -> Iterator[docker.DockerClient]:
    """A client of the real container engine."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url, timeout=60)) as client:
        yield client


@pytest.fixture(scope="session")
def busybox_image(engine_url: str) -> str:
    """The name of a small local image with a shell."""
    with _parts():
        return base_image.busybox(engine_url)


@pytest.fixture(scope="session")
def python_image(engine_url: str) -> str:
    """The name of a local image with Python."""
    with _parts():
        return base_image.python(engine_url)


@pytest.fixture(scope="session")
def pip_image(engine_url: str) -> str:
    """The name of a local image with Python and pip."""
    with _parts():
        return language_images.python_with_pip(engine_url)


@pytest.fixture(scope="session")
def node_image(engine_url: str) -> str:
    """The name of a local image with node and npm."""
    with _parts():
        return language_images.node(engine_url)


@pytest.fixture(scope="session")
def go_image(engine_url: str) -> str:
    """The name of a local image with Go."""
    with _parts():
        return language_images.go(engine_url)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry on loopback that wants a login."""
    folder = tmp_path_factory.mktemp("registry")
    with _parts():
        running = running_registry(folder, username="lading", password="correct horse battery")
        started = running.__enter__()
    try:
        yield started
    finally:
        running.__exit__(None, None, None)


@contextlib.contextmanager
def _parts() -> Iterator[None]:
    """A missing part is a failure with the word that mends it, not a traceback."""
    try:
        yield
    except PartError as error:
        pytest.fail(str(error), pytrace=False)
