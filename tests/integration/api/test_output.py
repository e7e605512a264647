"""Logs over the API: whole, lines, bytes, and as they come."""

from __future__ import annotations

import threading
import time

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.builders import House
from tests.integration.api.live import served

TEXT = b"".join(b"line %d\n" % number for number in range(1000))


@pytest.fixture
def address(house: House) -> str:
    run = house.failed(TEXT)
    return f"runs/{run.id}/attempts/1/steps/test.unit/log"


def test_the_whole_log_is_plain_text_as_stored(client: TestClient, address: str) -> None:
    response = client.get(address)

    assert response.content == TEXT
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-length"] == str(len(TEXT))


def test_the_newest_attempts_log_has_a_short_address(client: TestClient, house: House) -> None:
    run = house.failed(TEXT)

    assert client.get(f"runs/{run.id}/steps/test.unit/log").content == TEXT


def test_hostile_output_comes_as_it_is_but_never_as_a_page(
    house: House, client: TestClient
) -> None:
    hostile = b"<script>alert(1)</script>\x1b]52;c;YQ==\x07\xff\x00"
    run = house.failed(hostile)

    response = client.get(f"runs/{run.id}/steps/test.unit/log")

    assert response.content == hostile
    assert response.headers["content-type"].startswith("text/plain")
    assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("from=0&limit=1", 0, 1),
        ("from=10&limit=5", 10, 15),
        ("from=990", 990, 1000),
        ("limit=3", 0, 3),
        ("from=5000", 1000, 1000),
    ],
)
def test_lines_are_picked_by_number(
    client: TestClient, address: str, query: str, first: int, last: int
) -> None:
    expected = b"".join(b"line %d\n" % number for number in range(first, last))

    assert client.get(f"{address}?{query}").content == expected


def test_following_the_links_of_a_log_reads_every_line_once(
    client: TestClient, address: str
) -> None:
    response = client.get(f"{address}?limit=300")
    read = response.content
    while "next" in response.links:
        response = client.get(response.links["next"]["url"])
        read += response.content

    assert read == TEXT


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(TEXT)),
        ("bytes=-7", len(TEXT) - 7, len(TEXT)),
        ("bytes=0-999999", 0, len(TEXT)),
    ],
)
def test_a_range_is_answered_with_its_bytes(
    client: TestClient, address: str, header: str, start: int, end: int
) -> None:
    response = client.get(address, headers={"Range": header})

    assert response.status_code == 206
    assert response.content == TEXT[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(TEXT)}"


@pytest.mark.parametrize("header", ["bytes=99999-", "bytes=-0"])
def test_a_range_behind_the_end_is_416(client: TestClient, address: str, header: str) -> None:
    response = client.get(address, headers={"Range": header})

    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(TEXT)}"


@pytest.mark.parametrize(
    "header", ["bytes=9-0", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=-"]
)
def test_a_range_of_another_form_is_passed_over(
    client: TestClient, address: str, header: str
) -> None:
    response = client.get(address, headers={"Range": header})

    assert (response.status_code, response.content) == (200, TEXT)


def test_a_log_not_yet_begun_is_empty(house: House, client: TestClient) -> None:
    run = house.run()

    response = client.get(f"runs/{run.id}/steps/test.unit/log")

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("query", ["from=-1", "limit=0", "from=x", "follow=perhaps"])
def test_a_bad_parameter_of_a_log_is_400(client: TestClient, address: str, query: str) -> None:
    assert client.get(f"{address}?{query}").status_code == 400


def test_the_head_of_a_followed_log_does_not_wait(house: House, client: TestClient) -> None:
    run = house.run()

    assert client.head(f"runs/{run.id}/steps/test.unit/log?follow=1").status_code == 200


def test_following_an_ended_step_gives_all_and_ends(client: TestClient, address: str) -> None:
    assert client.get(f"{address}?follow=1&from=998").content == b"line 998\nline 999\n"


def test_following_a_step_gives_its_output_as_it_comes(house: House, app: Starlette) -> None:
    run = house.run().id
    house.take()
    headers = {"Authorization": f"Bearer {house.token()}"}
    with served(app, house.stopping) as base:
        url = f"{base}/api/v1/runs/{run}/steps/build.web/log?follow=1"
        with httpx2.stream("GET", url, headers=headers, timeout=20) as response:
            pieces = response.iter_bytes()
            house.begin(run, "build.web")  # it is followed before it has begun
            writer = house.logs.open(run, 1, "build.web")
            writer.write(1, b"first\n")
            assert next(pieces) == b"first\n"
            writer.write(1, b"second\n")
            assert next(pieces) == b"second\n"
            writer.close()
            house.logs.end(run, 1, "build.web")
            house.end(run, "build.web")
            assert list(pieces) == []


def test_an_open_stream_ends_when_the_server_stops(house: House, app: Starlette) -> None:
    run = house.run().id
    house.take()
    house.begin(run, "build.web")
    writer = house.logs.open(run, 1, "build.web")
    writer.write(1, b"first\n")
    headers = {"Authorization": f"Bearer {house.token()}"}
    ended = threading.Event()
    with served(app, house.stopping) as base:
        url = f"{base}/api/v1/runs/{run}/steps/build.web/log?follow=1"

        def read() -> None:
            with httpx2.stream("GET", url, headers=headers, timeout=20) as response:
                for _ in response.iter_bytes():
                    began.set()
            ended.set()

        began = threading.Event()
        reader = threading.Thread(target=read)
        reader.start()
        assert began.wait(10)
        stopped_at = time.monotonic()
    reader.join(10)
    writer.close()

    assert ended.is_set()
    assert time.monotonic() - stopped_at < 4
