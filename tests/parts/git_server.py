"""Real git repositories, and a real git server (`git http-backend`) on loopback."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.test",
    "GIT_COMMITTER_NAME": "Grace Hopper",
    "GIT_COMMITTER_EMAIL": "grace@example.test",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder: Path, *arguments: str, stdin: str | None = None) -> str:
    """What git prints, without the last line's end."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **IDENTITY},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.removesuffix("\n")


class Repository:
    """A bare repository and a work tree that pushes to it."""

    def __init__(self, folder: Path, name: str = "web") -> None:
        self.bare = folder / f"{name}.git"
        self.work = folder / f"{name}-work"
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.bare))

    def write(self, files: dict[str, str | bytes]) -> None:
        """Put files into the work tree."""
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def clear(self) -> None:
        """Remove every file from the work tree."""
        for path in self.work.iterdir():
            if path.name == ".git":
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def commit(self, files: dict[str, str | bytes] | None = None, message: str = "a change") -> str:
        """Commit everything in the work tree; the commit's id."""
        self.write(files or {})
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "-m", message)
        return git(self.work, "rev-parse", "HEAD")

    def push(self, *refspecs: str) -> str:
        """Push, and give what the person who pushes sees."""
        done = subprocess.run(
            ["git", "push", "--force", "origin", *(refspecs or ("HEAD:refs/heads/main",))],
            cwd=self.work,
            env={**os.environ, **IDENTITY},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def pushed(self, files: dict[str, str | bytes] | None = None, message: str = "a change") -> str:
        """Commit and push to main; the commit's id."""
        sha = self.commit(files, message)
        self.push()
        return sha


class GitServer:
    """Serves the bare repositories of a folder over http, with what the tests want to see."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        self.folder = folder
        self.password = password
        self.redirect_to: str | None = None
        self.answers = threading.Event()
        """Cleared: every request is taken and waits."""
        self.answers.set()
        self.seen: list[dict[str, str]] = []
        """The headers of every request, names in lower case."""
        self.url = ""

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append(headers)
        self.answers.wait(60)
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        if self.redirect_to:
            handler.send_response(302)
            handler.send_header("Location", self.redirect_to + handler.path)
            handler.end_headers()
            return
        wanted = base64.b64encode(f"lading:{self.password}".encode()).decode()
        if self.password and headers.get("authorization") != f"Basic {wanted}":
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="git"')
            handler.end_headers()
            return
        self._backend(handler, headers, body)

    def _backend(
        self, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
    ) -> None:
        parts = urlsplit(handler.path)
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "REQUEST_METHOD": handler.command,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
                "GIT_PROTOCOL": headers.get("git-protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
            input=body,
            capture_output=True,
            check=False,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        answers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        handler.send_response(int(answers.pop("Status", "200 OK").split()[0]))
        for name, value in answers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever fetches may be killed meanwhile
            handler.wfile.write(content)


@contextlib.contextmanager
def git_server(folder: Path, *, password: str | None = None) -> Iterator[GitServer]:
    """A git server on a free port of loopback, until the block ends."""
    server = GitServer(folder, password=password)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.respond(self)

        def do_POST(self) -> None:
            server.respond(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with http_server(Handler) as address:
        server.url = address
        yield server


@contextlib.contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with a handler on a free port of loopback; its address."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
