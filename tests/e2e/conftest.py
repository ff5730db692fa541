"""A server of our own and Debian's or Playwright's Chromium; a request that leaves this machine fails the test."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from app_server import Server, end_workers, launch
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Patient, because tests share their machine with trainings.
expect.set_options(timeout=20_000)
POLICY = "Content Security Policy"
LOCAL = ("http://127.0.0.1", "data:", "blob:")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts one more fresh server on this test's workspace (`tmp_path/workspace`); it takes variables
    of the environment."""
    started: list[Server] = []

    def start(environment: Mapping[str, str] | None = None) -> Server:
        server = launch(tmp_path / "workspace", tmp_path / f"server-{len(started)}.log", environment)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
    end_workers(tmp_path / "workspace")


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A fresh server on an empty workspace."""
    return start_server()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        if executable is None and not Path(playwright.chromium.executable_path).exists():
            message = "no Chromium: set CHROMIUM or run `playwright install chromium`"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    context = chromium.new_context(
        viewport={"width": 1400, "height": 900}, accept_downloads=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    outside: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else outside.append(request.url))
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if POLICY in message.text else None)
    yield page
    if getattr(request.node, "failed", False):
        picture = tmp_path / f"failed-{request.node.name}.png"
        page.screenshot(path=str(picture), full_page=True)
        print(f"picture of the failure: {picture}")
    context.close()
    assert not outside, f"the page asked for something outside this machine: {outside[:3]}"
    assert not blocked, f"the page needs what its Content-Security-Policy forbids: {blocked[:3]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report


def ready(page: Page, timeout: float = 15_000) -> None:
    """Wait until the page's script has run to its end."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=timeout)


@pytest.fixture(name="ready")
def ready_fixture() -> Callable[..., None]:
    """The function `ready(page)`."""
    return ready
