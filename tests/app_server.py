"""A server of our own, started as a user starts it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(workspace: Path, log: Path, environment: Mapping[str, str] | None = None) -> Server:
    """Start `streamlit run app.py`, as a user does, and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={"OMP_NUM_THREADS": "2", **os.environ, "MACE_APP_WORKSPACE": str(workspace), **(environment or {})},
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


def end_workers(workspace: Path) -> None:
    """Workers outlive the server on purpose; a test must not leave any behind."""
    import psutil

    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        command = " ".join(process.info["cmdline"] or [])
        if environment.get("MACE_APP_WORKSPACE") == str(workspace) or str(workspace) in command:
            process.kill()
