"""A step's output as it comes: replay, then what follows, then the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.builders import House
from tests.integration.api.live import served
from tests.integration.ui.conftest import MakeApp

Message = tuple[str, str, list[str]]


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """(event, id, data) of each message; comments are passed over."""
    event, id_, data = "", "", list[str]()
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "id":
            id_ = value
        elif name == "data":
            data.append(value)
        elif not line and event:
            yield event, id_, data
            event, id_, data = "", "", []


def read(client: TestClient, address: str, **headers: str) -> list[Message]:
    return list(messages(iter(client.get(address, headers=headers).text.split("\n"))))


@pytest.fixture
def address(house: House) -> str:
    run = house.failed(b"one\ntwo\nthree\nno end")
    return f"/runs/{run.id}/attempts/1/steps/test.unit/events"


def test_an_ended_step_is_replayed_and_ends(person: TestClient, address: str) -> None:
    assert read(person, address) == [
        ("lines", "14", ["one", "two", "three"]),
        ("lines", "20", ["no end"]),
        ("end", "20", [""]),
    ]


def test_a_reader_goes_on_where_it_stopped(person: TestClient, address: str) -> None:
    by_header = read(person, f"{address}?from=0", **{"Last-Event-ID": "8"})
    by_address = read(person, f"{address}?from=8")

    assert by_header == by_address
    assert by_header[0] == ("lines", "14", ["three"])


def test_a_reader_who_has_everything_is_told_to_stop_asking(
    person: TestClient, address: str
) -> None:
    assert person.get(address, headers={"Last-Event-ID": "20"}).status_code == 204


@pytest.mark.parametrize("start", ["-1", "x", "1e3", "99999999999999999999999", "²", ""])
def test_a_strange_start_is_the_beginning(person: TestClient, address: str, start: str) -> None:
    assert read(person, f"{address}?from={start}")[0] == ("lines", "14", ["one", "two", "three"])


def test_the_stream_is_neither_kept_nor_held_back_by_proxies(
    person: TestClient, address: str
) -> None:
    headers = person.get(address).headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


def test_hostile_output_cannot_forge_a_message(house: House, person: TestClient) -> None:
    run = house.failed(b"a\rdata: b\r\revent: end\n\x1b]52;c;YQ==\x07\xe2\x80\xa8x\n\nid: 7\n")

    got = read(person, f"/runs/{run.id}/attempts/1/steps/test.unit/events")

    assert [event for event, _, _ in got] == ["lines", "end"]
    assert got[0][2] == ["event: end", "x", "", "id: 7"]


def test_a_running_step_is_followed_until_its_end(house: House, make_app: MakeApp) -> None:
    run = house.run().id
    house.take()
    house.begin(run, "build.web")
    writer = house.logs.open(run, 1, "build.web")
    writer.write(1, b"before\n")
    with served(make_app(public=True), house.stopping) as base:
        url = f"{base}/runs/{run}/attempts/1/steps/build.web/events"
        with httpx2.stream("GET", url, timeout=20) as response:
            coming = messages(response.iter_lines())
            assert next(coming) == ("lines", "7", ["before"])
            writer.write(1, b"aft")
            writer.write(1, b"er\n")
            assert next(coming) == ("lines", "13", ["after"])
            house.begin(run, "test.unit")
            assert next(coming)[0] == "changed"
            writer.close()
            house.end(run, "build.web")
            house.logs.end(run, 1, "build.web")
            rest = [event for event, _, _ in coming]
    assert rest[-1] == "end"
    assert "lines" not in rest


def test_a_stream_ends_without_the_end_when_the_server_stops(
    house: House, make_app: MakeApp
) -> None:
    run = house.run().id
    house.take()
    house.begin(run, "build.web")
    got: list[str] = []
    began = threading.Event()
    with served(make_app(public=True), house.stopping) as base:
        url = f"{base}/runs/{run}/attempts/1/steps/build.web/events"

        def follow() -> None:
            with httpx2.stream("GET", url, timeout=20) as response:
                for line in response.iter_lines():
                    got.append(line)
                    began.set()

        reader = threading.Thread(target=follow)
        reader.start()
        assert began.wait(10)
    reader.join(10)

    assert not reader.is_alive()
    assert "event: end" not in got
