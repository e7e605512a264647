"""Run with `python -m unittest`."""

from __future__ import annotations

import threading
import unittest
from http.server import ThreadingHTTPServer
from urllib.request import urlopen

from greeting import Handler, answer, greet


class Greeting(unittest.TestCase):
    """What the application promises."""

    def test_it_greets_by_name(self) -> None:
        self.assertEqual(greet("Ada"), "Hello, Ada!")

    def test_it_greets_the_world_when_nobody_is_named(self) -> None:
        self.assertEqual(greet(" "), "Hello, world!")

    def test_an_unknown_path_is_not_found(self) -> None:
        self.assertEqual(answer("/nowhere")[0], 404)

    def test_it_answers_over_http(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)

        with urlopen(f"http://127.0.0.1:{server.server_port}/?name=Lading") as response:
            self.assertEqual(response.read(), b"Hello, Lading!\n")
