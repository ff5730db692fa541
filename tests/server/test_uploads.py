"""Uploads go to disk, within bounds of size, number and rate; what is refused is refused with a sentence."""

import json
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from app_server import Server, end_workers, launch
from talking import ask, form, upload, visit

from mace_app.jobs import Workspace
from mace_app.ui.server.rates import MOST_NAMES, Rate
from mace_app.ui.server.upload_store import Note, UploadRefused, UploadStore, discard, open_upload

XYZ = b'2\nLattice="3 0 0 0 3 0 0 0 3"\nH 0 0 0\nH 0 0 0.7\n'
MB = 1 << 20


def stored(server: Server) -> list[Path]:
    folder = server.workspace / "uploads"
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.exists() else []


def pieces(size: int) -> Iterator[bytes]:
    """A form of ``size`` bytes, piece by piece, so that no length is announced."""
    whole = form(b"\0")
    start, end = whole.split(b"\0")
    yield start
    for _ in range(size // MB):
        yield b"x" * MB
    yield end


def test_a_file_is_written_to_disk_byte_for_byte(local_server: Server) -> None:
    content = os.urandom(MB + 17)
    with visit(local_server) as page:
        assert upload(local_server, page, form(content, "a\u0301 b.xyz")).status == 204
    assert stored(local_server)[-1].read_bytes() == content


def test_an_oversized_file_is_refused_before_it_is_read(local_server: Server) -> None:
    before = stored(local_server)
    with visit(local_server) as page:
        answer = upload(local_server, page, b"", **{"Content-Length": str(4 * MB)})
    assert answer.status == 413
    assert "larger than 2 MB" in answer.text and "name its path" in answer.text
    assert stored(local_server) == before


def test_an_oversized_file_of_unknown_length_is_refused_while_it_comes(local_server: Server) -> None:
    before = stored(local_server)
    with visit(local_server) as page:
        assert upload(local_server, page, pieces(3 * MB)).status == 413
    assert stored(local_server) == before


def test_uploads_without_a_page_or_without_its_xsrf_token_leave_nothing(local_server: Server) -> None:
    before = stored(local_server)
    with visit(local_server) as page:
        for token in ("", "wrong", "2|aa|bb|1"):
            assert upload(local_server, page, form(XYZ), **{"X-Xsrftoken": token}).status == 403
        assert upload(local_server, page, form(XYZ), Origin="http://evil.example").status == 403
        page.session = "00000000-0000-0000-0000-000000000000"
        assert upload(local_server, page, form(XYZ)).status == 400
        page.session = "..%2f..%2f..%2fetc"
        assert upload(local_server, page, form(XYZ)).status in (400, 404, 405)
    assert stored(local_server) == before


@pytest.mark.parametrize(
    "body",
    [b"", b"no form", b"--edge--\r\n", form(XYZ).replace(b"--edge--\r\n", form(XYZ)), b"--edge\r\n\r\nz\r\n--edge--"],
)
def test_what_is_no_form_with_one_file_is_refused(local_server: Server, body: bytes) -> None:
    before = stored(local_server)
    with visit(local_server) as page:
        assert upload(local_server, page, body).status in (400, 422)
        assert upload(local_server, page, body, **{"Content-Type": "text/plain"}).status == 400
    assert stored(local_server) == before


def test_a_file_name_decides_nothing_about_where_it_is_written(local_server: Server) -> None:
    with visit(local_server) as page:
        assert upload(local_server, page, form(XYZ, "../../../../tmp/escaped.xyz")).status == 204
    assert stored(local_server)[-1].parent == local_server.workspace / "uploads"
    assert stored(local_server)[-1].name.isalnum()
    assert not Path("/tmp/escaped.xyz").exists()


@pytest.mark.slow
def test_a_large_upload_takes_no_memory(tmp_path: Path) -> None:
    server = launch(tmp_path / "workspace", tmp_path / "log", {"STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "600"})
    try:
        process = psutil.Process(server.process.pid)
        with visit(server) as page:
            assert upload(server, page, form(XYZ), "small").status == 204
            before = process.memory_info().rss
            assert upload(server, page, pieces(400 * MB), "large").status == 204
            assert process.memory_info().rss - before < 60 * MB
        assert stored(server)[-1].stat().st_size == 400 * MB
    finally:
        server.stop()
        end_workers(tmp_path / "workspace")


def test_too_many_files_in_a_minute_are_told_so_on_their_page(local_server: Server) -> None:
    before = len(stored(local_server))
    with visit(local_server) as page:
        sender = {"X-Forwarded-For": "203.0.113.77"}
        for number in range(32):
            # A note takes the place of the file, which the page shows; see the tests of notes below.
            assert upload(local_server, page, form(XYZ), f"f{number}", **sender).status == 204
    assert len(stored(local_server)) - before == 30


# Notes, which stand in the place of the file


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UploadStore:
    monkeypatch.setenv("MACE_APP_WORKSPACE", str(tmp_path))
    return UploadStore(Workspace(tmp_path))


def test_a_page_reads_the_stored_file_and_discards_it(store: UploadStore) -> None:
    path = store.new()
    path.write_bytes(XYZ)
    note = BytesIO(Note(stored=path.name).to_bytes())
    with open_upload(note) as stream:
        assert stream.read() == XYZ
    discard(note)
    assert not path.exists()
    with pytest.raises(UploadRefused, match="gone from the workspace"), open_upload(note):
        pass


def test_the_reason_of_a_refusal_reaches_the_page(store: UploadStore) -> None:
    refusal = BytesIO(Note(refused="The disk is full.").to_bytes())
    with pytest.raises(UploadRefused, match="The disk is full"), open_upload(refusal):
        pass


def test_a_forged_note_is_a_file_like_any_other(store: UploadStore) -> None:
    forged = json.dumps({"secret": "0" * 32, "stored": "../../etc/passwd", "refused": ""}).encode()
    with open_upload(BytesIO(forged)) as stream:
        assert stream.read() == forged


def test_uploads_that_nobody_took_are_deleted_after_a_day(store: UploadStore) -> None:
    old, new = store.new(), store.new()
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    store.new()
    assert not old.exists() and new.exists()


def test_a_rate_forgets_what_is_over_and_stays_small() -> None:
    now = 0.0
    rate = Rate(2, 10.0, clock=lambda: now)
    rate.note("a")
    now = 4.0
    rate.note("a")
    assert rate.wait("a") == 6.0 and rate.wait("b") == 0.0
    now = 10.5
    assert rate.wait("a") == 0.0
    for number in range(2 * MOST_NAMES):
        rate.note(str(number))
    assert len(rate._times) == MOST_NAMES


def test_every_page_reads_uploads_through_the_store() -> None:
    root = Path(__file__).resolve().parents[2]
    for path in [*(root / "mace_app" / "ui").rglob("*.py"), *(root / "pages").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if "st.file_uploader(" in text:
            assert "open_upload" in text, f"{path}: what st.file_uploader gives is a note; read it with open_upload"
            assert "getvalue()" not in text, f"{path}: read the upload with open_upload, not with getvalue()"


def test_the_health_of_the_server_survives_it_all(local_server: Server) -> None:
    assert ask(local_server, "/_stcore/health").body == b"ok"
