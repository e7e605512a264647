"""Who may see and change what; and what another site cannot make a browser do."""

from __future__ import annotations

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from pipelines.progress import State
from server.auth import make_token
from server.store import deliveries
from tests.builders import House
from tests.integration.ui.conftest import BASE, MakeApp

PAGES = (
    "/",
    "/runs/1",
    "/runs/77",
    "/runs/1/attempts/1",
    "/runs/1/attempts/1/steps/test.unit",
    "/runs/1/attempts/1/steps/test.unit/log",
    "/runs/1/attempts/1/steps/test.unit/events",
    "/deliveries",
    "/deliveries/x",
    "/secrets",
    "/schedules",
    "/nothing",
    "/runs/1/cancel",
    "/runs/1;a",
    "//runs/1",
)
CHANGES = (
    *("/runs/1/rerun", "/runs/1/cancel", "/runs/1/approve", "/runs/1/decline"),
    "/deliveries/x/redeliver",
    "/secrets/npm/remove",
    "/schedules/1/start",
)


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_asked_to_sign_in_whatever_there_is(
    house: House, stranger: TestClient, page: str
) -> None:
    house.failed()

    response = stranger.request("GET", f"{BASE}{page}")

    assert response.status_code == 303
    assert response.headers["location"].startswith("/login?next=%2F")


@pytest.mark.parametrize("page", CHANGES)
@pytest.mark.parametrize("public", [False, True])
def test_a_change_needs_a_token_even_where_reading_is_open(
    house: House, make_app: MakeApp, page: str, public: bool
) -> None:
    run = house.failed()
    client = TestClient(make_app(public=public), base_url=BASE, headers={"Origin": BASE})

    assert client.post(page).status_code == 401
    assert house.fresh(run.id) == run


def test_a_visitor_of_an_open_server_reads_but_gets_no_buttons(
    house: House, visitor: TestClient
) -> None:
    run = house.failed()

    page = visitor.get(f"/runs/{run.id}").text

    assert "test.unit failed" in page
    assert "<button" not in page
    assert "Sign in to run it again" in page


def test_a_visitor_of_an_open_server_does_not_see_what_the_host_sent(
    house: House, visitor: TestClient
) -> None:
    delivery = house.delivery(body=b'{"email": "ada@private.test"}')

    page = visitor.get(f"/deliveries/{delivery.id}").text

    assert "private.test" not in page
    assert "x-github-event" not in page


def test_an_old_cookie_does_not_lock_out_of_an_open_server(visitor: TestClient) -> None:
    visitor.cookies.set("lading_token", make_token())

    assert visitor.get("/").status_code == 200


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(
    house: House, stranger: TestClient
) -> None:
    token = house.token()

    response = stranger.post(
        "/login", data={"token": f" {token} ", "next": "/runs/1"}, headers={"Origin": BASE}
    )

    assert response.status_code == 303
    assert response.headers["location"] == "/runs/1"
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


def test_the_cookie_is_secure_where_the_address_is_https(house: House, make_app: MakeApp) -> None:
    client = TestClient(make_app(base_url="https://ci.test"), base_url="https://ci.test")

    response = client.post(
        "/login",
        data={"token": house.token()},
        headers={"Origin": "https://ci.test"},
        follow_redirects=False,
    )

    assert "Secure" in response.headers["set-cookie"]


def test_a_wrong_token_shows_the_form_again(stranger: TestClient) -> None:
    response = stranger.post(
        "/login", data={"token": make_token(), "next": "/runs/7"}, headers={"Origin": BASE}
    )

    assert response.status_code == 401
    assert "unknown or has expired" in response.text
    assert 'value="/runs/7"' in response.text
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "target", ["//evil.test", "/\\evil.test", "/a\r\nX: y", "https://evil.test"]
)
def test_signing_in_leads_to_no_other_site(house: House, stranger: TestClient, target: str) -> None:
    response = stranger.post(
        "/login", data={"token": house.token(), "next": target}, headers={"Origin": BASE}
    )
    form = stranger.get("/login", params={"next": target})

    assert response.headers["location"] == "/"
    assert 'name="next" value="/"' in form.text


FOREIGN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "null"},
    {"Origin": "http://evil.test"},
    {"Origin": "http://lading.test.evil.test"},
    {"Origin": "http://lading.test:81"},
    {"Origin": "javascript://lading.test"},
    {"Origin": BASE, "Sec-Fetch-Site": "cross-site"},
    {"Origin": BASE, "Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("page", [*CHANGES, "/login", "/logout"])
def test_a_form_of_another_site_is_refused(
    house: House, make_app: MakeApp, page: str, headers: dict[str, str]
) -> None:
    run = house.run()
    client = TestClient(make_app(), base_url=BASE, follow_redirects=False)
    client.cookies.set("lading_token", house.token("ada"))

    response = client.post(page, headers=headers, data={"token": house.token("eve")})

    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert house.fresh(run.id) == run


@pytest.mark.parametrize("page", CHANGES)
def test_a_change_is_no_get(house: House, person: TestClient, page: str) -> None:
    run = house.run()

    response = person.get(page)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert house.fresh(run.id) == run


@pytest.mark.parametrize("page", ["/", "/runs/1", "/deliveries", "/runs/1/attempts/1"])
def test_a_page_takes_no_post(house: House, person: TestClient, page: str) -> None:
    house.run()

    assert person.post(page).status_code == 405


def test_a_wrong_method_at_another_rooms_address_is_left_to_that_room(make_app: MakeApp) -> None:
    app = make_app()
    app.router.routes.insert(0, Route("/webhooks/{name}", lambda _: None, methods=["POST"]))

    assert TestClient(app, base_url=BASE).get("/webhooks/forge").status_code == 405


def test_signing_out_takes_the_cookie_away(person: TestClient) -> None:
    response = person.post("/logout")

    assert response.headers["location"] == "/login"
    assert person.get("/").status_code == 303


def test_a_form_that_is_too_large_or_no_form_is_refused(house: House, stranger: TestClient) -> None:
    form = {"Origin": BASE, "Content-Type": "application/x-www-form-urlencoded"}
    large = stranger.post("/login", content=b"token=" + b"x" * 20_000, headers=form)
    many = stranger.post("/login", content=b"a&" * 100, headers=form)
    other = stranger.post("/login", json={"token": house.token()}, headers={"Origin": BASE})
    strange = stranger.post("/login", content=b"token=\xff", headers=form)

    assert [one.status_code for one in (large, many, other, strange)] == [400, 400, 400, 400]


def test_run_again_makes_a_new_attempt_and_goes_to_it(house: House, person: TestClient) -> None:
    run = house.failed()

    first = person.post(f"/runs/{run.id}/rerun")
    second = person.post(f"/runs/{run.id}/rerun")

    assert (first.status_code, first.headers["location"]) == (303, f"/runs/{run.id}")
    assert house.fresh(run.id).attempt == 2
    assert second.status_code == 409
    assert "wait for its end" in second.text


def test_cancel_ends_a_waiting_run_in_the_persons_name(house: House, person: TestClient) -> None:
    run = house.run()

    first = person.post(f"/runs/{run.id}/cancel")
    second = person.post(f"/runs/{run.id}/cancel")

    assert first.status_code == 303
    assert house.fresh(run.id).state is State.CANCELLED
    assert house.fresh(run.id).sentence == "cancelled by ada"
    assert second.status_code == 409


def test_read_again_puts_a_delivery_back_and_returns_to_its_page(
    house: House, person: TestClient
) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "No run: when wants branch main")
    page = f"/deliveries/{delivery.id}"
    assert f'action="{page}/redeliver"' in person.get(page).text

    first = person.post(f"{page}/redeliver")
    second = person.post(f"{page}/redeliver")

    assert (first.status_code, first.headers["location"]) == (303, page)
    assert second.status_code == 409
    assert "waits to be read" in person.get(page).text
    assert "/redeliver" not in person.get(page).text


def test_another_site_cannot_have_a_delivery_read_again(house: House, person: TestClient) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "No run")

    answer = person.post(
        f"/deliveries/{delivery.id}/redeliver", headers={"Origin": "https://evil.test"}
    )

    assert answer.status_code == 403
    row = house.database.run(deliveries.delivery, delivery.id)
    assert row is not None
    assert row.state == "decided"
