"""Static sites: pages that only want to be served."""

from __future__ import annotations

from pipelines.proposing.files import Files
from pipelines.proposing.proposals import Found, Line, TestStep

_PLACES = (".", "public", "site", "www", "docs", "html")
_PORT = 8080


def look(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a static site; None where there is no index page."""
    place = next((each for each in _PLACES if files.has(f"{each}/index.html")), None)
    if place is None:
        return None
    page = f"http://127.0.0.1:{_PORT}/index.html"
    shown = "index.html" if place == "." else f"{place}/index.html"
    step = TestStep(
        name="site",
        about="serves the pages and asks for the first; put a link checker here if you like",
        image="busybox:1.37",
        image_note="a small image with a web server",
        lines=(
            Line(command=f"httpd -p {_PORT} -h {place}"),
            Line(command=f"wget -q -O /dev/null {page}"),
        ),
    )
    return Found(what="a static site", why=shown), step
