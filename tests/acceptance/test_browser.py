"""The pages in a real browser: with scripts, without, in the dark, on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from server.hosts.git import hook
from tests.parts.git_server import Repository
from tests.parts.process import KEY, LadingProcess

HOSTILE = "<img src=x onerror=alert(1)>"
MISSING = (
    "No Chromium is on this machine: these tests run the pages in it. Run scripts/system test."
)


@dataclass(frozen=True)
class House:
    """A server with one failed run and one that still runs until `go` is there."""

    server: LadingProcess
    failed: int
    running: int


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(MISSING, pytrace=False)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-background-networking", "--disable-quic"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, engine_url: str, busybox_image: str
) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "git" / "acme").mkdir(parents=True)
    server = LadingProcess(folder, engine=engine_url, git=folder / "git")
    server.start()
    repository = Repository(folder / "git" / "acme")
    hook.install(
        repository.bare, server_url=server.url, host_name="git", secret=KEY, name="acme/web"
    )

    def push(title: str, *commands: str) -> None:
        lines = "".join(f"\n      - {command}" for command in commands)
        text = f"test:\n  unit:\n    image: {busybox_image}\n    commands:{lines}\n"
        repository.commit({".lading.yml": text}, message=title)
        repository.push()

    push(f"Greet {HOSTILE}", f"echo '{HOSTILE}'", "seq 1 30", "exit 7")
    server.wait_for_run(1, "failure")
    push("Count slowly", "for i in $(seq 1 400); do echo line $i; usleep 50000; done")
    server.wait_for_run(2, "running")
    yield House(server, failed=1, running=2)
    server.stop()


def signed_in(page: Page, house: House, path: str) -> list[str]:
    """Open a page by way of the sign-in form; what the browser complains about meanwhile."""
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{house.server.url}{path}")
    page.get_by_label("Token").fill(house.server.token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{path}")
    return complaints


def test_a_failed_run_shows_what_failed_and_its_last_lines_at_once(
    browser: Browser, house: House
) -> None:
    page = browser.new_page()
    complaints = signed_in(page, house, f"/runs/{house.failed}")

    state = page.get_by_role("region", name="State")
    expect(state).to_contain_text("test.unit failed: exit code 7")
    log = page.get_by_role("region", name="Output of test.unit")
    expect(log.get_by_text("$ exit 7")).to_be_in_viewport()
    assert complaints == []
    page.close()


def test_what_strangers_write_is_text_and_never_runs(browser: Browser, house: House) -> None:
    page = browser.new_page()
    alerts: list[str] = []
    page.on("dialog", lambda dialog: alerts.append(dialog.message))
    signed_in(page, house, f"/runs/{house.failed}")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"Greet {HOSTILE}")
    expect(page.get_by_role("region", name="Output of test.unit")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert alerts == []
    page.close()


def test_output_comes_live_without_a_line_lost_or_doubled(browser: Browser, house: House) -> None:
    page = browser.new_page()
    complaints = signed_in(page, house, f"/runs/{house.running}")
    lines = page.locator(".log .line code")
    before = lines.count()

    expect(lines.nth(before + 20)).to_be_visible(timeout=20_000)

    texts = [text for text in lines.all_inner_texts() if text.startswith("line ")]
    first = int(texts[0].split()[1])
    assert texts == [f"line {first + offset}" for offset in range(len(texts))]
    assert complaints == []
    page.close()


def test_everything_can_be_read_and_done_without_scripts(browser: Browser, house: House) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    signed_in(page, house, "/")

    page.get_by_role("link", name=f"Greet {HOSTILE}").click()
    page.get_by_role("button", name="Run again").click()

    expect(page.get_by_text("attempt 2").or_(page.get_by_text("Attempt 2")).first).to_be_visible()
    house.server.wait_for_run(house.failed, "failure", attempt=2)
    context.close()


def test_a_secret_is_set_and_removed_without_scripts(browser: Browser, house: House) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    complaints = signed_in(page, house, "/secrets")

    page.get_by_label("Name").fill("npm_token")
    page.get_by_label("Value").fill("correct horse battery")
    page.get_by_label("Only for pushes to branches").fill("main, release/*")
    page.get_by_role("button", name="Set").click()

    row = page.get_by_role("listitem").filter(has_text="npm_token")
    expect(row).to_contain_text("branch release/*")
    expect(page.get_by_label("Value")).to_have_value("")
    row.get_by_role("button", name="Remove npm_token of the server").click()
    expect(page.get_by_role("heading", name="No secret yet")).to_be_visible()
    assert complaints == []
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(
    browser: Browser, house: House, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    signed_in(page, house, "/")
    for path in ("/", f"/runs/{house.failed}", "/deliveries", "/secrets", "/schedules"):
        page.goto(f"{house.server.url}{path}")
        # Playwright's own evaluation is not what the page's policy forbids to pages.
        box = page.locator("body").bounding_box()
        assert box is not None
        assert box["width"] <= width
        main = page.locator("main").bounding_box()
        assert main is not None
        assert main["x"] + main["width"] <= width
    context.close()
