"""What the pages say, and that hostile text stays text in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from pipelines.plan import Group
from pipelines.problems import Problem
from pipelines.progress import State
from server.store import retention, runs
from server.store.retention import OldOutput
from tests.builders import House, event, plan, templated

HOSTILE = "<img src=x onerror=alert(1)>\x1b]8;;javascript:alert(1)\x07\u202e'\"&"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Seen(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_list_shows_state_repository_branch_and_title(house: House, person: TestClient) -> None:
    house.failed()

    seen = Seen(person.get("/").text).text

    for word in (
        "failure",
        "acme/web",
        "main",
        "Make it shine",
        "test.unit failed",
        "web #1",
        "ada",
    ):
        assert word in seen


def test_the_list_is_paged_and_keeps_its_filter(house: House, person: TestClient) -> None:
    for _ in range(42):
        house.run(happening=event(branch="dev"))

    first = Seen(person.get("/?branch=dev").text)
    older = next(a["href"] for a in first.named("a") if a.get("rel") == "next")
    assert older is not None
    second = Seen(person.get(older).text)

    titles = [a for a in second.named("a") if a.get("class") == "title"]
    assert "branch=dev" in older
    assert len(titles) == 2


def test_an_empty_list_says_what_to_do_first(person: TestClient) -> None:
    assert "http://lading.test/webhooks/" in person.get("/").text
    assert "No run is like that" in person.get("/?branch=none").text


@pytest.mark.parametrize(
    "query", ["state=odd", "before=x", "before=9999999999999999999999", "branch=%00%ff", "x=1"]
)
def test_strange_parameters_do_no_harm(person: TestClient, query: str) -> None:
    assert person.get(f"/?{query}").status_code == 200


def test_a_failed_run_opens_the_failing_step_at_its_last_lines(
    house: House, person: TestClient
) -> None:
    output = b"".join(b"line %d\n" % number for number in range(1, 701)) + b"E assert 1 == 2\n"
    run = house.failed(output)

    seen = Seen(person.get(f"/runs/{run.id}").text)

    lines = [div["id"] for div in seen.named("div") if div.get("class") == "line"]
    assert "exit code 1: a command failed" in seen.text
    assert "E assert 1 == 2" in seen.text
    assert "201 earlier lines" in seen.text
    assert [one for one in lines if one and one.startswith("L")][::499] == ["L202", "L701"]


def test_a_chosen_step_is_shown_instead(house: House, person: TestClient) -> None:
    run = house.failed()

    page = person.get(f"/runs/{run.id}?step=build.web").text

    assert "step 3/3" in page
    assert "assert 1 == 2" not in page


def test_a_run_that_pushed_shows_the_digest_and_how_to_pull_it(
    house: House, person: TestClient
) -> None:
    run = house.succeeded()

    seen = Seen(person.get(f"/runs/{run.id}").text).text

    assert f"docker pull registry.test/web@sha256:{'ab' * 32}" in seen
    assert "3 steps passed" in seen


def test_the_steps_tell_how_long_they_waited_prepared_and_ran(
    house: House, person: TestClient
) -> None:
    run = house.succeeded()

    page = person.get(f"/runs/{run.id}").text

    cells = re.findall(r'<td class="num">([^<]*)</td>', page)
    assert cells[:3] == ["1 s", "2 s", "12 s"]


def test_a_broken_definition_is_shown_with_the_line_that_is_wrong(
    house: House, person: TestClient
) -> None:
    problem = Problem(code="P010", message="unknown key 'x'", hint="it is 'y'", line=2, column=3)
    run = house.run(problems=[problem], definition="build:\n  x: {}\n")

    page = person.get(f"/runs/{run.id}").text

    assert "unknown key &#39;x&#39;" in page
    assert 'class="line bad" id="D2"' in page
    assert "Run again" not in page


def test_earlier_attempts_keep_their_pages_and_output(house: House, person: TestClient) -> None:
    run = house.failed()
    person.post(f"/runs/{run.id}/rerun")

    newest = person.get(f"/runs/{run.id}").text
    first = person.get(f"/runs/{run.id}/attempts/1").text

    assert "assert 1 == 2" not in newest
    assert "re-run by ada" in newest
    assert "assert 1 == 2" in first
    assert "earlier attempt 1" in first


def test_a_running_page_is_renewed_without_scripts_and_an_ended_one_is_not(
    house: House, person: TestClient
) -> None:
    running, ended = house.run().id, house.failed().id

    assert 'http-equiv="refresh"' in person.get(f"/runs/{running}").text
    assert 'http-equiv="refresh"' not in person.get(f"/runs/{ended}").text


def test_all_lines_of_a_long_output_can_be_read_page_by_page(
    house: House, person: TestClient
) -> None:
    run = house.failed(b"".join(b"line %d\n" % number for number in range(1, 2501)))
    address = f"/runs/{run.id}/attempts/1/steps/test.unit?from=1"
    read: list[str] = []
    while address:
        page = person.get(address).text
        read += re.findall(r"<code>(.*?)</code>", page)
        later = re.search(r'<a href="([^"]+)">Later lines</a>', page)
        address = later[1] if later else ""

    assert read == [f"line {number}" for number in range(1, 2501)]


def test_hostile_output_is_inert_in_the_page(house: House, person: TestClient) -> None:
    run = house.failed(
        b"<img src=x onerror=alert(1)>\n\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07\n"
        b"\x1b]52;c;ZXZpbA==\x07\x07bell\n10%\r100%\n</code></div><script>alert(1)</script>\n"
    )
    for address in (f"/runs/{run.id}", f"/runs/{run.id}/attempts/1/steps/test.unit"):
        page = person.get(address).text
        seen = Seen(page)

        assert not seen.named("img")
        assert [script["src"] for script in seen.named("script")] == [
            seen.named("script")[0]["src"]
        ]
        assert "javascript:" not in page
        assert not set("\x1b\x07\r") & set(page)
        assert "<img src=x onerror=alert(1)>" in seen.text
        assert "click" in seen.text
        assert "100%" in seen.text
        assert "10%\r" not in seen.text


def test_hostile_words_of_git_and_hosts_are_inert_in_every_page(
    house: House, person: TestClient
) -> None:
    happening = event(
        repository=HOSTILE,
        branch=HOSTILE,
        title=HOSTILE,
        author=HOSTILE,
        actor=HOSTILE,
        ref=HOSTILE,
        url="javascript:alert(1)",
    )
    delivery = house.delivery(
        event_type=HOSTILE, headers={HOSTILE: HOSTILE}, body=f'{{"a": "{"<script>"}"}}'.encode()
    )
    problem = Problem(code="P010", message=HOSTILE, hint=HOSTILE, file=HOSTILE, line=1)
    run = house.run(happening=happening, problems=[problem], definition=HOSTILE, delivery=delivery)

    for address in ("/", f"/runs/{run.id}", "/deliveries", f"/deliveries/{delivery.id}"):
        page = person.get(address).text
        seen = Seen(page)

        assert len(seen.named("script")) == 1
        assert not seen.named("img")
        assert not [
            1 for _, attributes in seen.tags for name in attributes if name.startswith("on")
        ]
        assert not set("\x1b\x07\u202e") & set(page)
        assert not [a for a in seen.named("a") if (a["href"] or "").startswith("javascript")]


@pytest.mark.parametrize(
    "body",
    [b'{"a": "\\ud800"}', b"\xff\xfe", b"[" * 100_000, b"", b"payload=%7B%7D", b"9" * 5000],
)
def test_a_delivery_with_a_strange_body_is_shown(
    house: House, person: TestClient, body: bytes
) -> None:
    delivery = house.delivery(body=body)

    assert person.get(f"/deliveries/{delivery.id}").status_code == 200


def test_a_delivery_says_why_nothing_ran_and_hides_its_secret(
    house: House, person: TestClient
) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "No run: `when` entry 1 wants branch main, this push was to dev")

    page = person.get(f"/deliveries/{delivery.id}").text

    assert "wants branch main, this push was to dev" in page
    assert "hunter2" not in page
    assert "this push was to dev" in person.get("/deliveries").text


@pytest.mark.parametrize(
    "address",
    [
        "/runs/77",
        "/runs/x",
        "/runs/99999999999999999999",
        "/runs/²",
        "/runs/1/attempts/9",
        "/runs/1/attempts/1/steps/test.none",
        "/runs/1/attempts/1/steps/test.none/events",
        "/runs/1/attempts/1/steps/..%2fx/log",
        "/deliveries/none",
        "/nothing",
        "/static/0/lading.css",
        "/static/../site.py",
    ],
)
def test_what_is_not_there_is_a_404(house: House, person: TestClient, address: str) -> None:
    house.failed()

    assert person.get(address).status_code == 404


def test_every_page_carries_the_policies(house: House, person: TestClient) -> None:
    run = house.failed()

    for address in ("/", f"/runs/{run.id}", "/deliveries", "/login", "/nothing"):
        headers = person.get(address).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_a_page_names_its_language_and_landmarks(house: House, person: TestClient) -> None:
    house.failed()
    seen = Seen(person.get("/runs/1").text)

    assert seen.named("html") == [{"lang": "en"}]
    assert seen.named("main")
    assert seen.named("nav")
    assert len(seen.named("h1")) == 1


def test_static_files_may_be_kept_for_ever(person: TestClient) -> None:
    seen = Seen(person.get("/").text)
    address = next(link["href"] for link in seen.named("link") if link["rel"] == "stylesheet")
    assert address is not None

    response = person.get(address)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/css")
    assert "immutable" in response.headers["cache-control"]


def test_a_cancelled_run_says_by_whom(house: House, person: TestClient) -> None:
    run = house.run()
    person.post(f"/runs/{run.id}/cancel")

    page = person.get(f"/runs/{run.id}").text

    assert house.fresh(run.id).state is State.CANCELLED
    assert "cancelled by ada" in page


FAILED_ONLY = '<button name="only" value="failed">Run again what failed</button>'


def test_what_failed_can_be_run_again_where_something_failed_and_something_passed(
    house: House, person: TestClient, visitor: TestClient
) -> None:
    failed, passed = house.failed(), house.succeeded()

    assert FAILED_ONLY in person.get(f"/runs/{failed.id}").text
    assert FAILED_ONLY not in person.get(f"/runs/{passed.id}").text
    assert FAILED_ONLY not in visitor.get(f"/runs/{failed.id}").text


def test_a_step_that_was_carried_over_says_so_and_leads_to_what_it_wrote(
    house: House, person: TestClient
) -> None:
    run = house.failed()

    person.post(f"/runs/{run.id}/rerun", data={"only": "failed"})

    page = person.get(f"/runs/{run.id}?step=build.web").text
    address = f"/runs/{run.id}/attempts/1/steps/build.web"
    assert f'<a class="chip" href="{address}">from attempt 1</a>' in page
    assert "step 3/3" in page
    assert f'href="{address}/log"' in page
    assert "step 3/3" in person.get(f"/runs/{run.id}/attempts/2/steps/build.web").text
    assert "step 3/3" in person.get(f"/runs/{run.id}/attempts/2/steps/build.web/log").text
    assert house.fresh(run.id).state is State.WAITING


def test_an_image_that_was_pushed_before_stands_on_the_page_of_a_later_attempt(
    house: House, person: TestClient
) -> None:
    run = house.run().id
    house.take()
    for key in ("build.web", "push.web"):
        house.begin(run, key)
        house.end(run, key)
    house.end(run, "test.unit", State.FAILURE, exit_code=1)
    house.finish(run, State.FAILURE, "test.unit failed: exit code 1")

    person.post(f"/runs/{run}/rerun", data={"only": "failed"})

    assert "docker pull registry.test/web@sha256:abab" in person.get(f"/runs/{run}").text


def test_where_output_was_removed_the_run_stays_and_says_so(
    house: House, person: TestClient
) -> None:
    run = house.failed().id
    house.logs.remove(run)
    at = house.clock.forward(days=30, hours=1)
    house.database.run(retention.outputs_removed, [OldOutput(run=run, attempt=1)], at=at)

    for path in (f"/runs/{run}", f"/runs/{run}/attempts/1/steps/test.unit"):
        assert "Output removed after 30 days" in person.get(path).text


def test_a_delivery_without_its_body_says_so_and_cannot_be_read_again(
    house: House, person: TestClient
) -> None:
    delivery = house.delivery()
    house.nothing(delivery, "no match")
    house.database.run(retention.empty_deliveries, [delivery.id], at=house.clock())

    page = person.get(f"/deliveries/{delivery.id}").text

    assert "Headers and body were removed for their age on 2026-03-01" in page
    assert "Read again" not in page


def test_a_waiting_run_says_which_run_of_its_group_it_waits_for(
    house: House, person: TestClient
) -> None:
    grouped = plan().model_copy(update={"group": Group(name="<b>web</b>")})
    first, second = house.run(of=grouped), house.run(of=grouped)
    house.take()

    page = person.get(f"/runs/{second.id}").text

    assert f"waits for run {first.id} of group &lt;b&gt;web&lt;/b&gt;" in page
    assert "waits for run" not in person.get(f"/runs/{first.id}").text


def test_a_run_that_is_being_superseded_says_so_and_cannot_be_cancelled(
    house: House, person: TestClient
) -> None:
    first, second = house.run(), house.run()
    house.take()
    house.database.run(runs.supersede, first.id, by=second.id, at=house.clock())

    page = person.get(f"/runs/{first.id}").text

    assert f"superseded by run {second.id}; the steps that run get their time to end" in page
    assert f"/runs/{first.id}/cancel" not in page


def test_a_run_shows_the_dockerfile_that_a_template_became(
    house: House, person: TestClient
) -> None:
    run = house.run(of=templated())

    seen = Seen(person.get(f"/runs/{run.id}").text)

    assert "Dockerfile of build.web" in seen.text
    assert "RUN <b>" in seen.text
    links = [each["href"] for each in seen.named("a")]
    assert f"/runs/{run.id}/steps/build.docs/dockerfile" in links


def test_a_dockerfile_is_shown_as_plain_text_to_those_who_may_read(
    house: House, person: TestClient, stranger: TestClient
) -> None:
    address = f"/runs/{house.run(of=templated()).id}/steps/build.web/dockerfile"

    assert person.get(address).text == "FROM x\nRUN <b>\n"
    assert person.get(address).headers["x-content-type-options"] == "nosniff"
    assert stranger.get(address).status_code == 303
    assert person.get(address.replace("web", "no")).status_code == 404
