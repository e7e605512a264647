from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server.cli.marks import Marks


def test_a_run_that_is_alive_is_not_dead_and_leaves_nothing(tmp_path: Path) -> None:
    marks = Marks(tmp_path)

    with marks.alive(), marks.alive():
        assert marks.dead() == []
        assert len(list(tmp_path.iterdir())) == 2

    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from server.cli.marks import Marks\n"
        "with Marks(Path(sys.argv[1])).alive() as name:\n"
        "    print(name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    marks = Marks(tmp_path)

    assert marks.dead() == [killed.stdout.strip()]
    marks.forget(killed.stdout.strip())
    assert marks.dead() == []


def test_all_runs_of_a_person_have_one_server(tmp_path: Path) -> None:
    assert Marks(tmp_path).server == Marks(tmp_path).server
    assert Marks(tmp_path).server.startswith("local-")
