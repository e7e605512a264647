"""One process's way to the container engine: calls in threads, streams that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import docker
import requests
import urllib3
from docker import auth
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, NotFound, StreamParseError
from docker.transport import UnixHTTPAdapter

from pipelines.engine.ends import EndWatcher
from pipelines.engine.unix import ClosingAdapter
from pipelines.problems import ExecutorUnavailableError
from pipelines.registries.logins import Logins

P = ParamSpec("P")
T = TypeVar("T")

CALL_TIMEOUT = 120.0
"""Seconds for a call that answers at once on a healthy engine, under load perhaps in a minute."""
PROBE_TIMEOUT = 5.0
"""Seconds for a call that only asks whether the engine is alive."""

ENGINE_ERRORS = (
    DockerException,
    StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
"""What the SDK raises when the engine refuses a call, is not there, or goes away half-way."""

PIECE = 64 * 1024
"""Bytes read at once of a stream that is not a container's."""

_CONNECTIONS = 32
STEPS_NETWORK = "lading-steps"
DEFAULT_BRIDGE = "bridge"


class _OfThread(threading.local):
    response: requests.Response | None = None
    logins: Logins = MappingProxyType({})


class Client(docker.APIClient):
    """The SDK's client, without the person's own docker logins, whose streams can be cut."""

    def __init__(self, base_url: str | None, *, version: str | None, timeout: float | None) -> None:
        self._of_thread = _OfThread()
        # The stubs want whole seconds; requests takes any number, and None for ever.
        super().__init__(base_url, version=version, timeout=timeout, max_pool_size=_CONNECTIONS)  # type: ignore[arg-type]
        usual = self.adapters.get("http+docker://")
        if isinstance(usual, UnixHTTPAdapter):
            usual.close()
            ours = ClosingAdapter(usual.socket_path, timeout=timeout, connections=_CONNECTIONS)
            self.mount("http+docker://", ours)
        self.hooks["response"].append(self._remember)

    def _remember(self, response: requests.Response, **_: object) -> None:
        self._of_thread.response = response

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        # The SDK would send what it finds in the home folder of whoever runs the server.
        known = {host: login.auth_config for host, login in self._of_thread.logins.items()}
        if "docker.io" in known:
            known[auth.INDEX_URL] = known["docker.io"]
        headers["X-Registry-Config"] = auth.encode_header(known)

    @contextlib.contextmanager
    def logins(self, logins: Logins) -> Iterator[None]:
        """Builds that this thread starts inside may use these logins for their bases."""
        self._of_thread.logins = logins
        try:
            yield
        finally:
            self._of_thread.logins = {}

    def container_log(self, container: str, *, follow: bool) -> Stream:
        """The container's output from its start, multiplexed like `attach`.

        Not the SDK's `logs`, which forgets which stream the bytes are of, nor `attach` with logs,
        of which the SDK loses what comes together with the headers.
        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerLogs
        """
        response = self.get(
            f"{self.base_url}/v{self.api_version}/containers/{container}/logs",
            params={"stdout": 1, "stderr": 1, "follow": int(follow)},
            stream=True,
            timeout=self.timeout,
        )
        response.raise_for_status()
        return Stream(response)

    def opened(self) -> Stream:
        """The stream that this thread opened last."""
        response = self._of_thread.response
        if response is None:
            raise AssertionError("no call was made in this thread")
        return Stream(response)


class Stream:
    """An answer of the engine that is read while it comes."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def cut(self) -> None:
        """End it for whoever reads it. From any thread."""
        # A connection that is gone already needs no cutting.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._response.raw.shutdown()

    def pieces(self) -> Iterator[memoryview]:
        """Its bytes as they come; ends early where the connection breaks."""
        try:
            for data in self._response.raw.stream(PIECE, decode_content=False):
                yield memoryview(data)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return

    def close(self) -> None:
        """Drop the connection. From the thread that reads."""
        self._response.raw.close()
        self._response.close()


def connect(
    url: str | None, *, timeout: float | None = CALL_TIMEOUT, version: str = "auto"
) -> Client:
    """A client of the engine at `url`, else at `DOCKER_HOST`, else at the usual socket.

    Raises:
        ExecutorUnavailableError: Nothing answers there.
    """
    address = url or os.environ.get("DOCKER_HOST")
    try:
        _knock(_address(address))
        return Client(address, version=version, timeout=timeout)
    except ENGINE_ERRORS as error:
        raise unavailable(address, error) from error


def _address(url: str | None) -> str:
    return url or DEFAULT_UNIX_SOCKET.removeprefix("http+")


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: the SDK would leave a socket open behind it."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_TIMEOUT)
            probe.connect(address.removeprefix("unix://"))


def unavailable(url: str | None, error: Exception | None = None) -> ExecutorUnavailableError:
    """The sentence for an engine that is not there."""
    why = f" ({reason(error)})" if error else ""
    return ExecutorUnavailableError(
        f"the container engine at {place_of(url)} does not answer{why}: start it, "
        "or set `engine.url` to where it is"
    )


def place_of(url: str | None) -> str:
    """Where an engine is, for a sentence."""
    return url or "its usual socket"


def reason(error: Exception) -> str:
    """What the engine said, without the SDK's wrapping."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation).strip()
    return str(error).strip() or type(error).__name__


def gone(error: Exception) -> bool:
    """Whether it means that the engine itself cannot be reached."""
    return not isinstance(error, APIError)


def _log_driver(info: Mapping[str, Any]) -> str:
    """What keeps a container's output for whoever must read it again.

    `local` keeps the bytes as they came, in a third of the room; `json-file` replaces what is no
    UTF-8, so that the bytes of two readings cannot be counted against each other.
    """
    known = (info.get("Plugins") or {}).get("Log") or ()
    return "local" if "local" in known else "json-file"


class _Clients:
    """The clients of an engine that has answered."""

    def __init__(self, url: str | None) -> None:
        self.calls = connect(url)
        version = self.calls.api_version
        self.probe = connect(url, timeout=PROBE_TIMEOUT, version=version)
        self.streams = connect(url, timeout=None, version=version)
        self.ends = EndWatcher(self.streams)
        info = self.calls.info()
        self.log_driver = _log_driver(info)
        self.data_root = str(info.get("DockerRootDir") or "")
        self.trusted: Mapping[str, Any] = info.get("RegistryConfig") or {}
        # The id is the machine's where several engines share its /etc/docker.
        self.identity = f"{info.get('ID') or ''} {self.data_root}"

    def close(self) -> None:
        self.ends.close()
        for client in (self.calls, self.probe, self.streams):
            client.close()


class Engine:
    """One process's container engine: its clients, its threads, its network, its ends of steps.

    Made once for a process and shared by all executors. `threads` serve short calls; what may
    block for as long as a step runs gets a thread of its own, so that hung streams of a dead
    engine can never use up the threads that everything else needs.
    """

    def __init__(
        self, url: str | None, threads: ThreadPoolExecutor, *, runtime: str | None = None
    ) -> None:
        self.url = url or os.environ.get("DOCKER_HOST")
        self.runtime = runtime
        self.has_init = True
        self._threads = threads
        self._clients: _Clients | None = None
        self._connecting: asyncio.Future[None] | None = None
        self._network: asyncio.Task[str] | None = None
        self._references: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def connected(self) -> None:
        """Make sure that the engine answers; to be awaited before anything else.

        Raises:
            ExecutorUnavailableError: It does not.
        """
        if self._clients is not None:
            if not await self.alive():
                raise unavailable(self.url)
            return
        # One try for all who ask: an engine that is slow to answer must not use up the threads.
        if self._connecting is None or self._connecting.done():
            self._connecting = self.background(self._connect)
        await asyncio.shield(self._connecting)

    def close(self) -> None:
        """Stop watching and drop all connections."""
        if self._clients is not None:
            self._clients.close()

    @property
    def place(self) -> str:
        """Where it is, for a sentence."""
        return place_of(self.url)

    @property
    def is_connected(self) -> bool:
        """Whether the engine has ever answered."""
        return self._clients is not None

    @property
    def client(self) -> Client:
        """For calls that answer soon."""
        return self._connected.calls

    @property
    def streams(self) -> Client:
        """For answers that may be silent as long as they like; who waits must ask `alive`."""
        return self._connected.streams

    @property
    def probe(self) -> Client:
        """For questions that must not wait for a dead engine."""
        return self._connected.probe

    @property
    def log_driver(self) -> str:
        """The engine's own keeper of containers' output."""
        return self._connected.log_driver

    @property
    def trusted(self) -> Mapping[str, Any]:
        """Its word on registries without TLS, as it was when we connected."""
        return self._connected.trusted

    @property
    def identity(self) -> str:
        """What no other engine has: its id and the folder it keeps images in."""
        return self._connected.identity

    @property
    def data_root(self) -> str | None:
        """The folder on this machine where it keeps images and containers; None: elsewhere."""
        local = self.url is None or self.url.startswith("unix://")
        return (self._connected.data_root or None) if local else None

    @property
    def ends(self) -> EndWatcher:
        """When containers end."""
        return self._connected.ends

    @property
    def _connected(self) -> _Clients:
        if self._clients is None:
            raise AssertionError("await connected() first")
        return self._clients

    def _connect(self) -> None:
        self._clients = _Clients(self.url)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A short blocking call, in one of the shared threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def background(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """A long blocking call, in a thread of its own.

        The future may be given up; then nobody learns how the call ended.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # Whoever gave it up does not want to be told of its error by asyncio either.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

        def settle(value: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]  # without an error there is a value

        def work() -> None:
            value, error = None, None
            try:
                value = function()
            except BaseException as raised:  # noqa: BLE001 - told to whoever waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, value, error)

        threading.Thread(target=work, name="lading-engine", daemon=True).start()
        return future

    async def alive(self) -> bool:
        """Whether the engine answers within `PROBE_TIMEOUT`, and takes new connections.

        One that is about to stop answers on the old ones alone.
        """

        def ask() -> bool:
            _knock(_address(self.url))
            return bool(self._connected.probe.ping())

        try:
            return await self.background(ask)
        except ENGINE_ERRORS:
            return False

    async def network(self) -> str:
        """The network that all steps share without seeing each other.

        The engine's default bridge, where the engine keeps containers on it apart
        (`dockerd --icc=false`): its containers start some 50 ms sooner than those on a network of
        ours, which get a name server each. Else ours, made at first use.
        """
        task = self._network
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            self._network = task = asyncio.create_task(self.call(self._ensure_network))
        return await asyncio.shield(task)

    def forget_network(self) -> None:
        """Somebody removed it: the next use makes it anew."""
        self._network = None

    def _ensure_network(self) -> str:
        if self._bridge_keeps_apart():
            return DEFAULT_BRIDGE
        # Names are not unique on an engine; the oldest wins, so that everybody picks the same.
        found = self._networks()
        if not found:
            self.client.create_network(
                STEPS_NETWORK,
                driver="bridge",
                options={"com.docker.network.bridge.enable_icc": "false"},
                labels={"lading.network": "steps"},
                check_duplicate=True,
            )
            found = self._networks()
        return str(min(found, key=lambda network: str(network["Created"]))["Id"])

    def _bridge_keeps_apart(self) -> bool:
        try:
            options = self.client.inspect_network(DEFAULT_BRIDGE)["Options"] or {}
        except NotFound:
            return False
        return bool(options.get("com.docker.network.bridge.enable_icc") == "false")

    def _networks(self) -> list[dict[str, Any]]:
        return [
            network
            for network in self.client.networks(filters={"label": "lading.network=steps"})
            if network["Name"] == STEPS_NETWORK
        ]

    @contextlib.asynccontextmanager
    async def reference(self, name: str) -> AsyncIterator[None]:
        """Hold `repository:tag` alone: tag names on an engine are everybody's."""
        lock = self._references.get(name)
        if lock is None:
            self._references[name] = lock = asyncio.Lock()
        async with lock:
            yield
