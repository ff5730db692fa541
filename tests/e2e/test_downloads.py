"""Downloads from a running server: the right bytes, and nothing else."""

import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import plotly
import pytest
from run_samples import finish, make_run, pose_as_supervisor

from mace_app.jobs import RunFolder, Workspace


def get(server: object, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The path goes out as it is: clients would resolve `..` themselves."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)  # type: ignore[attr-defined]
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    space = Workspace(tmp_path / "workspace")
    pose_as_supervisor(space)
    run = make_run(space, "Éthanol <1>", "finished")
    finish(run, os.urandom(3_000_001))
    return run


def test_a_model_arrives_byte_for_byte_uncompressed_and_in_parts(server: object, run: RunFolder) -> None:
    path = f"/downloads/runs/{run.id}/model.pt"
    status, headers, body = get(server, path, **{"Accept-Encoding": "gzip, br"})
    assert status == 200 and body == run.model_file.read_bytes()
    assert headers["Content-Encoding"] == "identity" and headers["Content-Length"] == "3000001"
    assert headers["Content-Disposition"] == 'attachment; filename="ethanol-1-model.pt"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, body = get(server, path, Range="bytes=1000-1999")
    assert status == 206 and body == run.model_file.read_bytes()[1000:2000]
    status, _, body = get(server, f"/downloads/runs/{run.id}/checkpoints/best.safetensors")
    assert status == 200 and body == b"weights" * 1000


def test_nothing_but_the_listed_files_of_runs_can_be_fetched(server: object, run: RunFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("CLASSIFIED")
    (run.path / "secret.txt").write_text("CLASSIFIED")
    (run.path / "log.txt").unlink()
    (run.path / "log.txt").symlink_to(secret)
    (run.path.parent / "evil").symlink_to(tmp_path)
    (tmp_path / "workspace" / "report.json").write_text("CLASSIFIED")
    refused = [
        f"/downloads/runs/{run.id}/secret.txt",
        f"/downloads/runs/{run.id}/log.txt",
        f"/downloads/runs/{run.id}/../{run.id}/model.pt",
        f"/downloads/runs/{run.id}/..%2f..%2freport.json",
        f"/downloads/runs/{run.id}/%2e%2e/%2e%2e/report.json",
        f"/downloads/runs/{run.id}/checkpoints/../../../queue.sqlite",
        f"/downloads/runs/{run.id}//etc/passwd",
        f"/downloads/runs/{run.id}/checkpoints",
        f"/downloads/runs/{run.id}/",
        "/downloads/runs/..%2f..%2f/secret.txt",
        "/downloads/runs/../report.json",
        "/downloads/runs/../../etc/passwd",
        "/downloads/runs/%2e%2e/report.json",
        "/downloads/runs/evil/secret.txt",
        "/downloads/runs/no-such-run/model.pt",
        f"/downloads/runs/{run.id}/model.pt%00",
        f"/downloads/runs/{run.id}/MODEL.PT",
    ]
    for path in refused:
        status, _, body = get(server, path)
        assert b"CLASSIFIED" not in body and b"root:" not in body, path
        # Streamlit answers what is no address of ours with its own page.
        assert status in (400, 404) or b"<!doctype html>" in body[:200].lower(), path
    assert get(server, f"/downloads/runs/{run.id}/model.pt", "POST")[0] == 405
    # Under a foreign host name: DNS rebinding.
    assert get(server, f"/downloads/runs/{run.id}/model.pt", Host="attacker.example")[0] == 400


def test_the_chart_library_is_local_and_may_be_kept_for_good(server: object) -> None:
    path = f"/vendor/plotly-{plotly.__version__}/plotly.min.js"
    status, headers, body = get(server, path)
    assert status == 200 and len(body) > 1_000_000 and b"plotly.js" in body[:200]
    assert "immutable" in headers["Cache-Control"]
    assert get(server, path, **{"If-None-Match": headers["ETag"]})[0] == 304
    for other in ("widgetbundle.js", "../__init__.py", "%2e%2e/__init__.py", "datasets/iris.csv.gz"):
        status, _, body = get(server, f"/vendor/plotly-{plotly.__version__}/{other}")
        assert status in (400, 404), other
