"""A small chaos; `scripts/chaos` makes a large one."""

from __future__ import annotations

from pathlib import Path

from scripts.havoc import chaos
from scripts.havoc.stage import stage


def test_nothing_is_lost_doubled_or_left_however_often_the_server_is_killed(
    tmp_path: Path, engine_url: str, busybox_image: str
) -> None:
    with stage(tmp_path, engine=engine_url) as everything:
        result = chaos.with_everything(
            everything, busybox_image, kills=15, seed=11, minutes=1, most=18, longest=1.2, say=print
        )

    assert result.faults == []
    assert (result.ends.kills, result.sent) == (15, 18)
