"""Which caches of steps go; no engine here."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.engine.copying import size_in
from pipelines.engine.old_caches import old_caches

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


def volume(name: str, hour: int, size: int = 10, server: str = "s") -> dict[str, Any]:
    own = {"lading.server": server, "lading.cache": "x", "lading.repository": "a/b"}
    return {
        "Name": name,
        "Labels": own | {"lading.cache.key": name},
        "CreatedAt": f"2026-01-01T{hour:02}:00:00Z",
        "UsageData": {"Size": size, "RefCount": 0},
    }


def gone(*volumes: dict[str, Any], before: float = NOON, room: int = 1000) -> list[str]:
    return [cache.volume for cache in old_caches(volumes, "s", before=before, room=room)]


def test_what_was_written_too_long_ago_goes() -> None:
    assert gone(volume("young", 13), volume("old", 11)) == ["old"]


def test_the_oldest_go_where_all_together_are_too_large() -> None:
    some = [volume("a", 13), volume("c", 15), volume("b", 14)]
    assert gone(*some, room=20) == ["a"]


def test_what_is_another_servers_or_no_cache_stays() -> None:
    no_cache = volume("workspace", 1) | {"Labels": {"lading.server": "s", "lading.run": "1"}}
    bare = volume("bare", 1) | {"Labels": None}
    assert gone(volume("theirs", 1, server="t"), no_cache, bare) == []


@pytest.mark.parametrize("missing", ["UsageData", "CreatedAt"])
def test_an_engine_that_tells_less_breaks_nothing(missing: str) -> None:
    poor = volume("poor", 13) | {missing: None}
    assert gone(poor) == (["poor"] if missing == "CreatedAt" else [])


def test_people_read_key_and_repository() -> None:
    (old,) = old_caches([volume("pip", 1)], "s", before=NOON, room=0)
    assert (str(old), old.size) == ("pip of a/b", 10)


@pytest.mark.parametrize(
    ("output", "size"),
    [
        (b"12\t/cache\n", 12 * 1024),
        (b"cp: warning\n12 /cache\n", 12 * 1024),
        (b"", None),
        (b"twelve\n", None),
        (b"9" * 20 + b"\t/cache\n", None),
    ],
)
def test_a_size_is_believed_where_it_is_a_number(output: bytes, size: int | None) -> None:
    assert size_in(output) == size
