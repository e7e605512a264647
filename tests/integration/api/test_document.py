"""The OpenAPI document, the routes and the answers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from httpx2 import Response
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from pipelines.reports import Case, CaseState, Report
from server.api.endpoints import ENDPOINTS
from server.auth import Need
from tests.builders import House
from tests.integration.api.conftest import BASE

REPORT = Report(
    cases=(Case(name="good"), Case(name="bad", state=CaseState.FAILED)), total=2, failed=1
)


def described(stranger: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = stranger.get("openapi.json").json()
    return document


@pytest.fixture
def openapi(stranger: TestClient) -> OpenAPI:
    config = Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    return OpenAPI.from_dict(described(stranger), config=config)


def check(openapi: OpenAPI, response: Response) -> None:
    """Hold a real answer against the document."""
    sent = response.request
    request = MockRequest(
        BASE,
        sent.method.lower(),
        sent.url.path,
        args=dict(sent.url.params),
        headers=dict(sent.headers),
        data=sent.content or None,
        content_type=sent.headers.get("content-type", "application/json"),
    )
    answer = MockResponse(
        response.content,
        status_code=response.status_code,
        headers=dict(response.headers),
        content_type=response.headers["content-type"].partition(";")[0],
    )
    openapi.validate_response(request, answer)


def test_the_document_is_valid_openapi(stranger: TestClient) -> None:
    validate(described(stranger))


def test_every_route_is_in_the_document_and_no_other(app: Starlette, stranger: TestClient) -> None:
    mount = app.routes[0]
    assert isinstance(mount, Mount)
    routed = {route.path for route in mount.routes if isinstance(route, Route)}
    outside = {"/openapi.json", "/{path:path}"}  # the document itself, and what is nothing

    assert routed - outside == set(described(stranger)["paths"])
    for endpoint in ENDPOINTS:
        assert endpoint.method.lower() in described(stranger)["paths"][endpoint.path]


def test_only_what_is_got_is_for_those_who_may_only_read() -> None:
    for endpoint in ENDPOINTS:
        assert (endpoint.need is Need.READ) == (endpoint.method == "GET"), endpoint.name


def test_no_model_of_parameters_is_left_among_the_bodies(stranger: TestClient) -> None:
    names = described(stranger)["components"]["schemas"]

    assert not [name for name in names if name.endswith("Query")]


@pytest.mark.parametrize("path", [endpoint.path for endpoint in ENDPOINTS])
def test_every_endpoint_wants_a_token(stranger: TestClient, path: str) -> None:
    named = {"run": 1, "attempt": 1, "key": "test.unit", "delivery": "x"}
    address = path.format(**named, secret="npm", registry="x")
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"):
        response = stranger.request(method, address)

        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_answers_are_as_described(house: House, client: TestClient, openapi: OpenAPI) -> None:
    delivery = house.delivery()
    run = house.succeeded()
    house.keep(run.id, files={"out/a.txt": b"one"}, report=REPORT)
    broken = house.failed()
    house.nothing(delivery, "No run")

    for path in (
        "runs",
        "runs?limit=1",
        f"runs/{run.id}",
        f"runs/{broken.id}",
        f"runs/{run.id}/attempts/1/steps",
        f"runs/{run.id}/attempts/1/steps/test.unit/log",
        f"runs/{run.id}/steps/test.unit/log",
        "deliveries",
        f"deliveries/{delivery.id}",
        f"runs/{run.id}/tests",
        f"runs/{run.id}/artifacts",
        f"runs/{run.id}/attempts/1/steps/test.unit/artifact?path=out/a.txt",
        "artifacts/latest?repository=acme/web&branch=main&pipeline=web&step=test.unit",
        "images",
        "registries",
        "channels",
        "moves",
        "repositories",
        "operations",
        "secrets",
        "schedules",
        "me",
    ):
        response = client.get(path)
        assert response.status_code == 200, path
        check(openapi, response)


def test_answers_to_changes_are_as_described(
    house: House, client: TestClient, openapi: OpenAPI
) -> None:
    run = house.succeeded()
    delivery = house.delivery()
    house.nothing(delivery, "No run")

    for path, body, status in (
        (f"deliveries/{delivery.id}/redeliver", None, 202),
        (f"deliveries/{delivery.id}/redeliver", None, 409),
        ("deliveries/x/redeliver", None, 404),
        ("runs", {"repository": "acme/web", "ref": "main"}, 201),
        (f"runs/{run.id}/attempts", None, 201),
        (f"runs/{run.id}/attempts", None, 409),
        (f"runs/{run.id}/cancel", None, 202),
        (f"runs/{run.id}/cancel", None, 409),
        ("runs/77/cancel", None, 404),
        ("runs", {"repository": ""}, 422),
    ):
        response = client.post(path, json=body)
        assert response.status_code == status, (path, response.text)
        check(openapi, response)


def test_problems_are_as_described(
    client: TestClient, stranger: TestClient, openapi: OpenAPI
) -> None:

    for response, status in (
        (stranger.get("runs"), 401),
        (client.get("runs?limit=0"), 400),
        (client.get("runs/7"), 404),
    ):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        check(openapi, response)


def test_the_version_is_that_of_the_project(stranger: TestClient) -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads(Path(__file__).parents[3].joinpath("pyproject.toml").read_text())

    assert described(stranger)["info"]["version"] == project["project"]["version"]
