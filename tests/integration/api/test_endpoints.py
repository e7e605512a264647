"""Each endpoint: it works, the wrong method, the unknown id, the second time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from pipelines.plan import Group
from pipelines.progress import State
from server.auth import make_token
from server.notices import Level, Notice
from server.store import pauses, retention, runs, tokens
from server.store.retention import OldOutput
from server.store.rows import Found, PauseKind
from tests.builders import NOW, House, event, plan, templated


def test_runs_are_listed_newest_first_and_paged_by_the_last_id(
    house: House, client: TestClient
) -> None:
    first, second, third = (house.run().id for _ in range(3))

    page = client.get("runs?limit=2")
    rest = client.get(page.json()["next"])

    assert [run["id"] for run in page.json()["items"]] == [third, second]
    assert page.headers["link"] == f'<{page.json()["next"]}>; rel="next"'
    assert [run["id"] for run in rest.json()["items"]] == [first]
    assert rest.json()["next"] is None


def test_runs_are_filtered_by_repository_branch_and_state(house: House, client: TestClient) -> None:
    house.failed()
    other = house.run(happening=event(repository="acme/api", branch="dev")).id

    for query in ("repository=acme/api", "branch=dev", "state=waiting"):
        assert [run["id"] for run in client.get(f"runs?{query}").json()["items"]] == [other]
    both = client.get("runs?repository=acme/api&state=failure")
    assert both.json()["items"] == []


def test_a_page_keeps_the_filter(house: House, client: TestClient) -> None:
    for _ in range(2):
        house.run(happening=event(branch="dev/a b&c"))

    link = client.get("runs", params={"branch": "dev/a b&c", "limit": 1}).json()["next"]

    assert len(client.get(link).json()["items"]) == 1


def test_a_run_tells_steps_images_statuses_and_its_definition(
    house: House, client: TestClient
) -> None:
    run = house.succeeded()

    told = client.get(f"runs/{run.id}").json()

    assert told["state"] == "success"
    assert [step["key"] for step in told["steps"]] == ["build.web", "test.unit", "push.web"]
    assert told["images"][0]["reference"] == f"registry.test/web@sha256:{'ab' * 32}"
    assert told["statuses"][0]["told"] is False
    assert told["definition"]["text"].startswith("build:")
    assert told["page"] == f"http://lading.test/runs/{run.id}"


@pytest.mark.parametrize(
    "path",
    [
        "runs/77",
        "runs/0",
        "runs/-1",
        "runs/x",
        "runs/99999999999999999999999",
        "runs/1/attempts/9/steps",
        "runs/1/attempts/99999999999999999999999/steps",
        "runs/1/attempts/1/steps/test.nothing/log",
        "runs/1/attempts/1/steps/..%2f..%2f..%2fetc%2fpasswd/log",
        "runs/1/attempts/1/steps/%00/log",
        "runs/1/steps/%ff%fe/log",
        "deliveries/unknown",
        "deliveries/%00",
        "nothing",
        "",
        "runs/1;x",
        "runs//1",
        "RUNS",
    ],
)
def test_what_is_not_there_is_a_problem_404(house: House, client: TestClient, path: str) -> None:
    house.succeeded()

    response = client.get(path)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("before=0", "before"),
        ("before=99999999999999999999999", "before"),
        ("state=broken", "state"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        (f"branch={'x' * 300}", "branch"),
    ],
)
def test_a_bad_parameter_is_a_problem_that_names_it(
    client: TestClient, query: str, parameter: str
) -> None:
    response = client.get(f"runs?{query}")

    assert response.status_code == 400
    assert response.json()["parameter"] == parameter
    assert parameter in response.json()["detail"]


def test_strange_parameters_are_never_a_500(house: House, client: TestClient) -> None:
    house.run()
    for text in ("%00", "%ff", "%ed%a0%80", "';drop table runs;--", "%F0%9F%9A%A2"):
        assert client.get(f"runs?branch={text}").json()["items"] == []
        assert client.get(f"deliveries?before={text}").status_code in {200, 400}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "runs", "GET, HEAD, POST"),
        ("POST", "runs/1", "GET, HEAD"),
        ("GET", "runs/1/attempts", "POST"),
        ("GET", "runs/1/cancel", "POST"),
        ("PUT", "deliveries", "GET, HEAD"),
    ],
)
def test_the_wrong_method_is_told_the_right_one(
    client: TestClient, method: str, path: str, allow: str
) -> None:
    response = client.request(method, path)

    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert response.json()["detail"].startswith(method)


def test_a_get_changes_nothing(house: House, client: TestClient) -> None:
    run = house.run()

    client.get(f"runs/{run.id}/cancel")
    client.get(f"runs/{run.id}/attempts")

    assert house.fresh(run.id) == run


def test_a_rerun_is_a_new_attempt_and_the_second_one_is_a_conflict(
    house: House, client: TestClient
) -> None:
    run = house.failed()

    first = client.post(f"runs/{run.id}/attempts")
    second = client.post(f"runs/{run.id}/attempts")

    assert first.status_code == 201
    assert first.json()["number"] == 2
    assert first.json()["reason"] == "re-run by ada"
    assert first.headers["location"].endswith(f"/runs/{run.id}/attempts/2/steps")
    assert house.woken == 1
    assert second.status_code == 409
    assert "wait for its end" in second.json()["detail"]
    assert client.get(f"runs/{run.id}/attempts/1/steps").json()["items"][0]["state"] == "success"


def test_a_cancel_of_a_running_run_interrupts_it(house: House, client: TestClient) -> None:
    run = house.run()
    house.take()

    response = client.post(f"runs/{run.id}/cancel")

    assert response.status_code == 202
    assert response.json()["cancelled_by"] == "ada"
    assert house.interrupted == [(run.id, 1)]


def test_the_queue_tells_what_waits_for_what_and_how_long(house: House, client: TestClient) -> None:
    grouped = plan().model_copy(update={"group": Group(name="web")})
    first, second = house.run(of=grouped), house.run(of=grouped)
    house.take()
    free = house.run()
    house.clock.forward(seconds=90)

    queue = client.get("queue").json()

    assert queue["waiting"] == 2
    assert [item["run"]["id"] for item in queue["items"]] == [second.id, free.id]
    assert [item["waits_for"] for item in queue["items"]] == [
        f"waits for run {first.id} of group web",
        "waits for a slot",
    ]
    assert queue["items"][0]["waits_for_run"].endswith(f"/runs/{first.id}")
    assert queue["items"][0]["waited_seconds"] == 90.0
    assert client.get(f"runs/{second.id}").json()["waits_for"] == queue["items"][0]["waits_for"]
    assert client.get(f"runs/{first.id}").json()["waits_for"] is None
    assert [item["run"]["id"] for item in client.get("queue?limit=1").json()["items"]] == [2]


def test_an_attempt_tells_which_run_superseded_it(house: House, client: TestClient) -> None:
    first, second = house.run(), house.run()
    house.database.run(runs.supersede, first.id, by=second.id, at=house.clock())

    (attempt,) = client.get(f"runs/{first.id}").json()["attempts"]

    assert attempt["state"] == "cancelled"
    assert attempt["superseded_by"].endswith(f"/runs/{second.id}")
    assert attempt["cancelled_by"] is None


def test_a_cancel_of_an_ended_run_is_a_conflict(house: House, client: TestClient) -> None:
    run = house.succeeded()

    response = client.post(f"runs/{run.id}/cancel")

    assert response.status_code == 409
    assert "ended already: success" in response.json()["detail"]


def test_a_run_by_hand_answers_with_the_decision(house: House, client: TestClient) -> None:
    house.repository()

    response = client.post("runs", json={"repository": "acme/web", "ref": "main"})

    assert response.status_code == 201
    assert response.json()["reason"] == "ada asked for everything at main of any host"


def test_a_run_by_hand_of_an_unknown_repository_is_not_found(client: TestClient) -> None:
    response = client.post("runs", json={"repository": "acme/none", "ref": "main"})

    assert response.status_code == 404
    assert "acme/none" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "word"),
    [
        (b"{}", "application/json", 422, "repository"),
        (b'{"repository": 7, "ref": "main"}', "application/json", 422, "repository"),
        (b'{"repository": "a", "ref": "b", "x": 1}', "application/json", 422, "x"),
        (b"[]", "application/json", 422, "body"),
        (b"{", "application/json", 400, "JSON"),
        (b"\xff", "application/json", 400, "JSON"),
        (b"[" * 60_000, "application/json", 400, "JSON"),
        (b"", "application/json", 400, "JSON"),
        (b" " * 70_000, "application/json", 413, "64 KiB"),
        (b"repository=a", "application/x-www-form-urlencoded", 415, "JSON"),
        (b'{"repository": "\\ud800", "ref": "b"}', "application/json", 422, "repository"),
    ],
)
def test_a_bad_body_is_a_problem_that_says_what_is_wrong(
    client: TestClient, body: bytes, kind: str, status: int, word: str
) -> None:
    response = client.post("runs", content=body, headers={"Content-Type": kind})

    assert response.status_code == status
    assert word in response.json()["detail"]


def test_a_delivery_is_shown_without_its_secrets(house: House, client: TestClient) -> None:
    headers = {
        "x-gitlab-token": "hunter2",
        "x-hub-signature-256": "sha256=aa",
        "webhook-signature": "v1,aa",
        "authorization": "Bearer x",
        "cookie": "a=b",
        "user-agent": "GitHub-Hookshot",
    }
    delivery = house.delivery(headers=headers)
    house.nothing(delivery, "No run: entry 1 wants branch main")

    told = client.get(f"deliveries/{delivery.id}").json()

    assert {name for name, value in told["headers"].items() if value == "[hidden]"} == set(
        headers
    ) - {"user-agent"}
    assert told["headers"]["user-agent"] == "GitHub-Hookshot"
    assert told["body"] == '{"ref": "refs/heads/main"}'
    assert told["decision"]["reason"] == "No run: entry 1 wants branch main"
    assert told["decision"]["pipelines"][0]["started"] is False


def test_deliveries_are_listed_with_what_was_decided(house: House, client: TestClient) -> None:
    waiting, decided = house.delivery("d-1"), house.delivery("d-2")
    house.nothing(decided, "No run")

    page = client.get("deliveries?limit=1").json()
    rest = client.get(page["next"]).json()

    assert (page["items"][0]["id"], page["items"][0]["outcome"]) == (decided.id, "nothing")
    assert (rest["items"][0]["id"], rest["items"][0]["outcome"]) == (waiting.id, None)


def test_images_are_filtered_by_image_and_repository(house: House, client: TestClient) -> None:
    house.succeeded()

    assert len(client.get("images?image=registry.test/web").json()["items"]) == 1
    assert len(client.get("images?repository=acme/web").json()["items"]) == 1
    assert client.get("images?image=registry.test/other").json()["items"] == []


def test_repositories_link_to_their_runs(house: House, client: TestClient) -> None:
    house.succeeded()

    link = client.get("repositories").json()["items"][0]["runs"]

    assert len(client.get(link).json()["items"]) == 1


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer lading_",
        f"Bearer {make_token()}",
        "Basic YWRhOmFkYQ==",
        "Bearer \xe9\xe9",
        "bearer lading_" + "A" * 5000,
    ],
)
def test_a_wrong_token_is_401(stranger: TestClient, header: str) -> None:
    response = stranger.get("runs", headers={b"Authorization": header.encode("latin-1")})

    assert response.status_code == 401
    assert "lading token create" in response.json()["detail"]


def test_a_token_is_refused_once_it_has_expired_or_is_removed(
    house: House, stranger: TestClient
) -> None:
    expiring = house.token("expiring", expires_at=NOW + timedelta(hours=1))
    removed = house.token("removed")

    def status(token: str) -> int:
        answer = stranger.get("runs", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    assert (status(expiring), status(removed)) == (200, 200)
    house.clock.forward(hours=1)
    house.database.run(tokens.remove_token, "removed")
    assert (status(expiring), status(removed)) == (401, 401)


def test_a_token_in_the_address_is_not_taken(house: House, stranger: TestClient) -> None:
    assert stranger.get(f"runs?token={house.token()}").status_code == 401


@pytest.mark.parametrize("path", ["runs/1", "runs/77", "nothing", "runs/1;x", "%2e%2e/runs"])
def test_a_stranger_learns_nothing_of_what_there_is(
    house: House, stranger: TestClient, path: str
) -> None:
    house.succeeded()

    here, there = stranger.get("runs"), stranger.get(path)

    assert (there.status_code, there.content) == (here.status_code, here.content)


def test_a_run_with_problems_tells_them(house: House, client: TestClient) -> None:
    from pipelines.problems import Problem

    run = house.run(problems=[Problem(code="P010", message="unknown key 'script'", line=5)])

    told = client.get(f"runs/{run.id}").json()
    again = client.post(f"runs/{run.id}/attempts")

    assert told["state"] == State.ERROR
    assert told["definition"]["problems"][0]["line"] == 5
    assert again.status_code == 409
    assert "Mend .lading.yml" in again.json()["detail"]


def test_a_redelivered_delivery_waits_again_without_its_decision(
    house: House, client: TestClient
) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "No run")

    first = client.post(f"deliveries/{delivery.id}/redeliver")
    second = client.post(f"deliveries/{delivery.id}/redeliver")

    assert first.status_code == 202
    assert (first.json()["state"], first.json()["decision"]) == ("waiting", None)
    assert second.status_code == 409
    assert "waits to be read already" in second.json()["detail"]


def test_a_rerun_of_what_failed_carries_over_what_passed(house: House, client: TestClient) -> None:
    run = house.failed()

    started = client.post(f"runs/{run.id}/attempts", json={"only": "failed"})

    assert started.status_code == 201
    assert started.json()["reason"] == "re-run of what failed by ada"
    built, tested, pushed = client.get(f"runs/{run.id}").json()["steps"]
    assert (built["state"], built["carried_from"]) == ("success", 1)
    assert built["log"].endswith(f"/runs/{run.id}/attempts/1/steps/build.web/log")
    assert [(step["state"], step["carried_from"]) for step in (tested, pushed)] == [
        ("waiting", None),
        ("waiting", None),
    ]


def test_the_output_of_a_step_that_was_carried_over_is_what_it_wrote_then(
    house: House, client: TestClient
) -> None:
    run = house.failed()
    client.post(f"runs/{run.id}/attempts", json={"only": "failed"})

    for path in (f"runs/{run.id}/steps", f"runs/{run.id}/attempts/2/steps"):
        assert client.get(f"{path}/build.web/log").text.startswith("step 1/3\n")


def test_a_rerun_from_a_step_runs_it_and_what_needs_it(house: House, client: TestClient) -> None:
    run = house.succeeded()

    started = client.post(f"runs/{run.id}/attempts", json={"from": "test.unit"})

    assert started.json()["reason"] == "re-run from test.unit by ada"
    states = {step["key"]: step["state"] for step in client.get(f"runs/{run.id}").json()["steps"]}
    assert states == {"build.web": "success", "test.unit": "waiting", "push.web": "waiting"}


def test_a_rerun_of_what_failed_where_nothing_did_is_a_conflict(
    house: House, client: TestClient
) -> None:
    run = house.succeeded()

    refused = client.post(f"runs/{run.id}/attempts", json={"only": "failed"})

    assert refused.status_code == 409
    assert "every step" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"from": "test.none"}, 404, "it has build.web, test.unit, push.web"),
        ({"only": "passed"}, 422, "failed"),
        ({"only": "failed", "from": "test.unit"}, 422, "not both"),
        ({"what": 1}, 422, "what"),
    ],
)
def test_a_rerun_that_makes_no_sense_says_what_would(
    house: House, client: TestClient, body: dict[str, object], status: int, word: str
) -> None:
    run = house.failed()

    refused = client.post(f"runs/{run.id}/attempts", json=body)

    assert refused.status_code == status
    assert word in refused.json()["detail"]
    assert house.fresh(run.id).attempt == 1


def test_operations_tell_how_the_server_does_in_figures_and_in_words(
    house: House, client: TestClient
) -> None:
    house.run()
    house.clock.forward(minutes=2)
    house.board.put(
        Notice(part="disk", level=Level.PAUSE, text="No new run starts", since=house.clock())
    )

    told = client.get("operations").json()

    assert told["queue"] == {"count": 1, "oldest_seconds": 120.0}
    assert (told["paused"], told["notices"][0]["text"]) == (True, "No new run starts")
    assert told["engine_fault"] is None
    assert told["adopted"] == {"count": 0, "last_at": None}
    said = {one["part"]: one["text"] for one in told["sentences"]}
    assert said["Runs"] == "None runs; 1 waits, for 2 min."


def test_operations_want_a_token(stranger: TestClient) -> None:
    assert stranger.get("operations").status_code == 401


def test_output_that_was_removed_is_told_as_gone(house: House, client: TestClient) -> None:
    run = house.failed().id
    old = [OldOutput(run=run, attempt=1)]
    house.logs.remove(run, 1)
    house.database.run(retention.outputs_removed, old, at=house.clock())

    answer = client.get(f"runs/{run}/steps/test.unit/log")

    assert answer.status_code == 410
    assert "removed for its age on 2026-03-01" in answer.json()["detail"]
    shown = client.get(f"runs/{run}").json()["attempts"][0]
    assert shown["output_removed_at"] is not None


def test_a_delivery_that_was_emptied_cannot_be_read_again(house: House, client: TestClient) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "no match")
    house.database.run(retention.empty_deliveries, [delivery.id], at=house.clock())

    answer = client.post(f"deliveries/{delivery.id}/redeliver")

    assert answer.status_code == 409
    assert "removed for its age on 2026-03-01" in answer.json()["detail"]
    assert client.get(f"deliveries/{delivery.id}").json()["emptied_at"] is not None


def test_a_run_leads_to_its_delivery_and_tells_how_that_was_found(
    house: House, client: TestClient
) -> None:
    delivery = house.delivery(found=Found.HEADS)
    run = house.run(delivery=delivery)

    shown = client.get(f"runs/{run.id}").json()

    assert shown["delivery"].endswith(f"/api/v1/deliveries/{delivery.id}")
    assert shown["found"] == "heads"
    assert client.get(f"deliveries/{delivery.id}").json()["found"] == "heads"
    assert [one["found"] for one in client.get("deliveries").json()["items"]] == ["heads"]


def test_hosts_that_are_left_alone_are_listed_with_the_reason(
    house: House, client: TestClient
) -> None:
    for kind, repository in ((PauseKind.QUIET, 0), (PauseKind.HOOKS, house.repository().id)):
        house.database.run(
            pauses.pause,
            "forge",
            kind=kind,
            repository=repository,
            reason="because",
            now=house.clock(),
            until=house.clock() + timedelta(hours=1),
        )

    items = client.get("pauses").json()["items"]

    assert [(one["kind"], one["repository"], one["reason"]) for one in items] == [
        ("quiet", None, "because"),
        ("hooks", "acme/web", "because"),
    ]


def test_a_run_whose_commit_still_cannot_be_read_is_a_conflict_that_says_so(
    house: House, client: TestClient
) -> None:
    answer = client.post(f"runs/{house.unreadable().id}/attempts")

    assert answer.status_code == 409
    assert "still cannot be read" in answer.json()["detail"]


def test_the_dockerfile_of_a_template_is_plain_text(house: House, client: TestClient) -> None:
    run = house.run(of=templated())

    answer = client.get(f"runs/{run.id}/steps/build.web/dockerfile")

    assert answer.text == "FROM x\nRUN <b>\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("test.unit", "has no build 'test.unit'"),
        ("build.docs", "is not in the mirror any more"),
    ],
)
def test_a_dockerfile_that_cannot_be_had_is_told(
    house: House, client: TestClient, key: str, told: str
) -> None:
    run = house.run(of=templated())

    answer = client.get(f"runs/{run.id}/steps/{key}/dockerfile")

    assert answer.status_code == 404
    assert told in answer.json()["detail"]
