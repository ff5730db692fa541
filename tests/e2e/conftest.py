"""A server of our own and Debian's or Playwright's Chromium; a request that leaves this machine fails the test."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
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
LOCAL = ("http://127.0.0.1", "data:", "blob:")


@dataclass
class Server:
    """A running app: its address, its workspace folder, and what it printed."""

    url: str
    workspace: Path
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(workspace: Path, log: Path) -> Server:
    """Start `streamlit run app.py`, as a user does, and wait until it answers."""
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={"OMP_NUM_THREADS": "2", **os.environ, "MACE_APP_WORKSPACE": str(workspace)},
        )
    server = Server(f"http://127.0.0.1:{port}", workspace, log, process)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1):
                return server
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    server.stop()
    raise RuntimeError(f"The app did not start:\n{log.read_text()}")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """A function that starts one more fresh server on this test's workspace (`tmp_path/workspace`)."""
    started: list[Server] = []

    def start() -> Server:
        server = launch(tmp_path / "workspace", tmp_path / f"server-{len(started)}.log")
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
    _end_workers(tmp_path / "workspace")


@pytest.fixture
def server(start_server: Callable[[], Server]) -> Server:
    """A fresh server on an empty workspace."""
    return start_server()


def _end_workers(workspace: Path) -> None:
    """Workers outlive the server on purpose; a test must not leave any behind."""
    import psutil

    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        command = " ".join(process.info["cmdline"] or [])
        if environment.get("MACE_APP_WORKSPACE") == str(workspace) or str(workspace) in command:
            process.kill()


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
    yield page
    if getattr(request.node, "failed", False):
        picture = tmp_path / f"failed-{request.node.name}.png"
        page.screenshot(path=str(picture), full_page=True)
        print(f"picture of the failure: {picture}")
    context.close()
    assert not outside, f"the page asked for something outside this machine: {outside[:3]}"


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
