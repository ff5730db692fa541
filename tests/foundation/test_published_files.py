"""Published files from a real web server, through mace-torch's own download function into its own cache."""

import hashlib
import socket
from pathlib import Path

import pytest
from file_server import Server

from mace_app.__main__ import main
from mace_app.jobs import FoundationProgress
from mace_app.model.adapter import mace_downloads
from mace_app.model.foundation import FoundationError
from mace_app.published import DOWNLOADABLE, published_as
from mace_app.tasks.phases import Phases
from mace_app.tasks.published_files import fetch_published

SMALL = DOWNLOADABLE["small"]


def files_of(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("mace/*") if not path.name.endswith(".lock"))


def test_the_catalogue_is_that_of_mace_torch() -> None:
    downloads = mace_downloads()
    assert {m.name for m in DOWNLOADABLE.values() if m.table == "mp"} == set(downloads.mace_mp_urls)
    assert {m.name for m in DOWNLOADABLE.values() if m.table == "off"} == set(downloads.mace_off_urls)
    for model in DOWNLOADABLE.values():
        table = downloads.mace_mp_urls if model.table == "mp" else downloads.mace_off_urls
        file = table[model.name].rsplit("/", 1)[1]
        assert file == f"{model.file}.model"
        assert published_as(file) is model
        assert published_as("".join(c for c in file if c.isalnum() or c == "_")) is model


@pytest.mark.parametrize("key", ["small", "off-medium"])
def test_a_file_is_downloaded_once_and_its_checksum_stands_beside_it(
    server: Server, small_file: Path, tmp_path: Path, key: str
) -> None:
    model = DOWNLOADABLE[key]
    phases = Phases()
    told: list[FoundationProgress] = []
    count = phases.count

    def counted(done: float, total: float | None = None) -> None:
        count(done, total)
        told.append(phases.now())

    phases.count = counted  # type: ignore[method-assign]
    fetched = fetch_published(model, phases)
    assert fetched.path.read_bytes() == small_file.read_bytes()
    assert fetched.foundation.heads == ["Default"]
    size = small_file.stat().st_size
    assert (told[0].done, told[0].total) == (0, size) and (told[-1].done, told[-1].total) == (size, size)
    assert fetched.sha256 == hashlib.sha256(small_file.read_bytes()).hexdigest()
    record = fetched.path.with_name(f"{fetched.path.name}.sha256").read_text()
    assert record == f"{fetched.sha256}  {fetched.path.name}\n"
    assert len(server.asked) == 1
    assert fetch_published(model, Phases()).path == fetched.path
    assert len(server.asked) == 1, "the second time it is in the cache"
    assert len(files_of(tmp_path / "cache")) == 2


def test_what_mace_torch_has_in_its_cache_is_used(server: Server, small_file: Path, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "mace" / "MACE-OFF23_small.model"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(small_file.read_bytes())
    assert fetch_published(DOWNLOADABLE["off-small"], Phases()).path == cached
    assert server.asked == []


def test_a_redirection_is_followed(server: Server, small_file: Path) -> None:
    server.behaviour = "moved"
    assert fetch_published(SMALL, Phases()).path.read_bytes() == small_file.read_bytes()
    assert server.asked[1] == "/elsewhere"


@pytest.mark.parametrize(
    "behaviour, sentence",
    [
        ("missing", "127.0.0.1 answered 404 Not Found"),
        ("page", "answered with a web page instead of the file"),
        ("truncated", r"only \d+ of \d+ bytes came before the connection ended"),
        ("nonsense", "What was downloaded is not MACE-MP-0 small, and was not kept: .*damaged"),
    ],
)
def test_what_is_no_model_leaves_nothing_and_can_be_tried_again(
    server: Server, tmp_path: Path, behaviour: str, sentence: str
) -> None:
    server.behaviour = behaviour
    with pytest.raises(FoundationError, match=sentence):
        fetch_published(SMALL, Phases())
    assert files_of(tmp_path / "cache") == []
    server.behaviour = "file"
    assert fetch_published(SMALL, Phases()).foundation.heads == ["Default"]


def test_without_a_network_there_is_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setitem(mace_downloads().mace_mp_urls, "small", f"http://127.0.0.1:{free.getsockname()[1]}/a.model")
        with pytest.raises(FoundationError, match=r"no connection to 127\.0\.0\.1 \(Connection refused\)\. Try again"):
            fetch_published(SMALL, Phases())
    monkeypatch.setitem(mace_downloads().mace_mp_urls, "small", "http://no-such-host.invalid/a.model")
    with pytest.raises(FoundationError, match=r"no connection to no-such-host\.invalid"):
        fetch_published(SMALL, Phases())


def test_a_file_that_changed_in_the_cache_is_refused(server: Server, small_file: Path) -> None:
    fetched = fetch_published(SMALL, Phases())
    changed = bytearray(small_file.read_bytes())
    changed[-1] ^= 1
    fetched.path.write_bytes(changed)
    with pytest.raises(FoundationError, match=f"has changed since it was downloaded: its SHA-256 was {fetched.sha256}"):
        fetch_published(SMALL, Phases())
    fetched.path.unlink()
    assert fetch_published(SMALL, Phases()).sha256 == fetched.sha256, "downloaded again"


def test_a_broken_file_that_others_left_in_the_cache_is_named_and_stays(server: Server, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "mace" / "MACE-OFF23_small.model"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(server.content[:1000])
    with pytest.raises(FoundationError, match=f"delete {cached} to download it again"):
        fetch_published(DOWNLOADABLE["off-small"], Phases())
    assert cached.exists()


def test_the_command_lists_downloads_and_exports(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["foundation"]) == 0
    listed = capsys.readouterr().out
    assert all(key in listed for key in DOWNLOADABLE) and "no commercial use" in listed
    assert main(["foundation", "medium-mpa-0", "-o", str(tmp_path / "mpa.pt")]) == 0
    printed = capsys.readouterr().out
    assert "SHA-256: " in printed and "Licence: MIT" in printed and "energy: agrees" in printed
    assert (tmp_path / "mpa.pt").is_file()
    assert server.asked == ["/mace-mpa-0-medium.model"]


def test_a_licence_that_forbids_something_has_to_be_accepted(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["foundation", "mh-1"]) == 2
    assert "Add --accept-licence if you accept it." in capsys.readouterr().err
    assert server.asked == []
    assert main(["foundation", "mh-1", "--accept-licence"]) == 0
    assert "no commercial use" in capsys.readouterr().out
    assert main(["foundation", "polar-1-s"]) == 2
    assert "no published model `polar-1-s`" in capsys.readouterr().err


def test_a_failed_download_says_so_and_the_others_go_on(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaviour = "missing"
    assert main(["foundation", "small", "medium"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "MACE-MP-0 small" in errors[0] and "MACE-MP-0 medium" in errors[1]
