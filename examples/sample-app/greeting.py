"""A greeting over HTTP: the smallest thing worth shipping."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def greet(name: str) -> str:
    """The greeting for a name; for nobody in particular, the world's."""
    return f"Hello, {name.strip() or 'world'}!"


def answer(target: str) -> tuple[int, str]:
    """Status and text for a request's target, such as `/?name=Ada`."""
    url = urlsplit(target)
    if url.path == "/healthz":
        return 200, "ok"
    if url.path == "/":
        return 200, greet(parse_qs(url.query).get("name", [""])[0])
    return 404, "Nothing here."


class Handler(BaseHTTPRequestHandler):
    """Answers GET, and nothing else."""

    def do_GET(self) -> None:
        """Called by the server for each GET."""
        status, text = answer(self.path)
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until stopped."""
    port = int(os.environ.get("PORT", "8080"))
    ThreadingHTTPServer(("", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
