import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mace_app.jobs import ProgressWriter, RunFolder, RunFolderError, metrics_file
from mace_app.jobs.metrics_file import read_metrics

ROOT = Path(__file__).resolve().parents[2]


def test_a_new_run_is_queued_and_its_record_has_every_key_of_the_format(folder: RunFolder) -> None:
    record = json.loads(folder.run_file.read_text())
    expected = (
        "format id name kind state reason created started ended device seed command pid pid_started versions data "
        "best_epoch parameters pid_after_boot boot slot not_responding failure automatic automatic_from tags note "
        "archived imported"
    )
    assert set(record) == set(expected.split())
    assert record["state"] == "queued"
    assert record["id"] == folder.id
    assert record["created"].endswith("+00:00")


def test_a_folder_that_is_a_run_is_not_overwritten(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="already holds a run"):
        RunFolder.create(folder.path, "seed: 2\n", "Other")
    assert folder.options_text() == "seed: 1\n"


def test_start_names_the_living_process_and_a_final_state_its_end(folder: RunFolder) -> None:
    info = folder.start(device="cpu", seed=7)
    assert (info.state, info.pid, info.device, info.seed) == ("running", os.getpid(), "cpu", 7)
    assert folder.worker_alive()
    assert folder.set_state("failed", "No more atoms.").ended is not None
    assert folder.info().reason == "No more atoms."


def test_a_stop_asked_before_the_worker_is_up_is_not_lost(folder: RunFolder) -> None:
    folder.request_stop("now")
    assert folder.start().state == "stopping"
    assert folder.stop_requested() == "now"
    folder.set_state("stopped")
    assert folder.stop_requested() is None


def test_a_stop_asked_of_a_running_run_shows_at_once(folder: RunFolder) -> None:
    folder.start()
    folder.request_stop()
    assert folder.info().state == "stopping"
    assert folder.stop_requested() == "best"
    folder.release()


def test_two_workers_never_share_a_run(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mace_app.jobs.run_record.WORKER_LOCK_PATIENCE_SECONDS", 0.1)
    folder.start()
    with pytest.raises(RunFolderError, match="Another process is at work"):
        RunFolder(folder.path).start()
    folder.set_state("stopped")
    second = RunFolder(folder.path)
    assert second.start().state == "running"
    second.release()


def test_updates_of_many_threads_and_processes_are_all_kept(folder: RunFolder) -> None:
    code = (
        "import sys; from mace_app.jobs import RunFolder; run = RunFolder(sys.argv[1])\n"
        "for i in range(25): run.update(lambda now: now.with_(parameters=(now.parameters or 0) + 1))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder.path)], cwd=ROOT) for _ in range(2)]

    def count() -> None:
        for _ in range(25):
            folder.update(lambda now: now.with_(parameters=(now.parameters or 0) + 1))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0]
    assert folder.info().parameters == 100


def test_an_update_keeps_what_a_later_version_wrote_and_refuses_misspelt_keys(folder: RunFolder) -> None:
    record = json.loads(folder.run_file.read_text())
    folder.run_file.write_text(json.dumps({**record, "colour": "blue"}))
    folder.update(best_epoch=3)
    assert json.loads(folder.run_file.read_text())["colour"] == "blue"
    with pytest.raises(ValueError, match="best_epok"):
        folder.update(best_epok=3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is damaged"),
        ('{"format": 1, "id"', "is damaged"),
        ("[1]", "is damaged"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "state": "happy"}', "unknown state 'happy'"),
        ('{"format": 1, "state": "queued"}', "'id' is missing"),
    ],
)
def test_a_damaged_record_gives_a_sentence_with_the_file(folder: RunFolder, content: str, sentence: str) -> None:
    folder.run_file.write_text(content)
    with pytest.raises(RunFolderError, match=sentence) as error:
        folder.info()
    assert str(folder.run_file) in str(error.value)


def test_files_that_are_not_there_yet_are_none_and_a_lost_record_is_an_error(folder: RunFolder) -> None:
    assert folder.progress() is None
    assert folder.parity() is None
    assert folder.splits() is None
    assert folder.report() is None
    assert folder.metrics().epochs == []
    assert folder.log_tail() == []
    folder.run_file.unlink()
    with pytest.raises(RunFolderError, match=r"no run\.json"):
        folder.info()


@pytest.mark.parametrize("name", ["progress.json", "splits.json", "report.json", "parity/validation.npz"])
def test_other_damaged_files_give_sentences_too(folder: RunFolder, name: str) -> None:
    path = folder.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xff\x00{")
    with pytest.raises(RunFolderError, match=path.name):
        [folder.progress(), folder.splits(), folder.report(), folder.parity()]


def test_metrics_are_read_piece_by_piece_and_a_half_line_waits(folder: RunFolder) -> None:
    folder.start_metrics({"energy": "eV/atom"}, ["energy"])
    folder.append_metrics({"epoch": 1, "train/loss": 2.0})
    first = folder.read_metrics()
    assert first.header is not None
    assert first.header["units"] == {"energy": "eV/atom"}
    assert [record["epoch"] for record in first.epochs] == [1]
    with open(folder.metrics_file, "ab") as stream:
        stream.write(b'{"epoch": 2, "train/lo')
    assert folder.read_metrics(first.offset).epochs == []
    with open(folder.metrics_file, "ab") as stream:
        stream.write(b'ss": 1.0}\n')
    second = folder.read_metrics(first.offset)
    assert [record["epoch"] for record in second.epochs] == [2]
    assert folder.read_metrics(second.offset).epochs == []


def test_a_line_cut_by_a_kill_does_not_swallow_the_next_and_a_later_line_wins(folder: RunFolder) -> None:
    folder.start_metrics({"energy": "eV/atom"}, ["energy"])
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch, "train/loss": float(epoch)})
    with open(folder.metrics_file, "ab") as stream:
        stream.write(b'{"epoch": 4, "tr')
    history = folder.metrics()
    folder.start_metrics({"energy": "eV/atom"}, ["energy"])  # the resumed worker; one header only
    folder.append_metrics({"epoch": 3, "train/loss": 30.0})
    assert history.refresh()
    epochs, losses = history.column("train/loss")
    assert (epochs.tolist(), losses.tolist()) == ([1, 2, 3], [1.0, 2.0, 30.0])
    assert history.units == {"energy": "eV/atom"}
    assert folder.metrics_file.read_text().count("header") == 1
    assert not history.refresh()


def test_a_metrics_file_that_got_shorter_is_read_anew(folder: RunFolder) -> None:
    for epoch in (1, 2):
        folder.append_metrics({"epoch": epoch})
    history = folder.metrics()
    folder.metrics_file.write_text('{"epoch": 7}\n')
    assert history.refresh()
    assert [record["epoch"] for record in history.epochs] == [7]


def test_columns_keep_their_epochs_whatever_the_lines_hold(folder: RunFolder) -> None:
    """Keys that come and go, words, an older epoch in between, and lines after a column was read."""
    for record in ({"epoch": 1, "a": 1.0}, {"epoch": 2, "b": 2, "c": "word"}, {"epoch": 3, "a": None, "b": True}):
        folder.append_metrics(record)
    history = folder.metrics()
    before = history.column("a")
    folder.append_metrics({"epoch": 2, "a": 5.0, "d": 6.0})
    assert history.refresh()
    assert [values.tolist() for values in history.column("b")] == [[3], [1.0]]
    assert [values.tolist() for values in history.column("d")] == [[2], [6.0]]
    np.testing.assert_array_equal(history.column("a"), [[1, 2, 3], [1.0, 5.0, math.nan]])
    np.testing.assert_array_equal(before, [[1, 3], [1.0, math.nan]])
    assert history.column("c")[0].size == history.column("nowhere")[0].size == 0
    assert (history.value("a", 2), history.value("a", 3), history.value("a", 4), history.value("a", None)) == (
        5.0, None, None, None,
    )  # fmt: skip
    assert (history.count, history.last_epoch) == (3, 3)


def test_a_long_history_is_read_in_pieces_and_grows_line_by_line(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_file, "_PIECE_BYTES", 100)
    for epoch in range(200):
        folder.append_metrics({"epoch": epoch, "x" * (epoch % 5 * 60 + 1): float(epoch)})
    history = folder.metrics()
    for epoch in range(200, 300):
        folder.append_metrics({"epoch": epoch, "x": float(epoch)})
        assert history.refresh()
    assert history.count == 300 and len(read_metrics(folder.metrics_file).epochs) == 300
    assert history.column("x")[1].tolist() == [float(n) for n in range(300) if n % 5 == 0 or n >= 200]
    assert history.epochs == read_metrics(folder.metrics_file).epochs


def test_a_loss_that_is_not_finite_stays_strict_json(folder: RunFolder) -> None:
    folder.append_metrics({"epoch": 1, "train/loss": math.nan, "monitored": math.inf})
    assert folder.metrics().epochs == [{"epoch": 1, "train/loss": None, "monitored": None}]


def test_parity_comes_back_as_it_was_and_holds_no_pickles(folder: RunFolder) -> None:
    arrays = {
        "energy/pbe:reference": np.array([1.0, 2.0]),
        "energy/pbe:prediction": np.array([1.5, 2.5]),
        "energy/pbe:structure": np.array([0, 1]),
        "energy/pbe.forces:reference": np.ones((3, 3)),
        "energy/pbe.forces:prediction": np.zeros((3, 3)),
        "energy/pbe.forces:structure": np.array([0, 0, 1]),
        "energy/pbe.forces:atom": np.array([0, 1, 0]),
    }
    folder.write_parity(arrays, epoch=4)
    parity = folder.parity()
    assert parity is not None
    assert parity.epoch == 4
    assert set(parity.labels) == {"energy/pbe", "energy/pbe.forces"}
    assert parity.labels["energy/pbe"].atom is None
    np.testing.assert_array_equal(parity.labels["energy/pbe.forces"].atom, [0, 1, 0])
    with pytest.raises(ValueError, match="plain numbers"):
        folder.write_parity({"energy:reference": np.array([object()])}, epoch=5)
    assert folder.parity() is not None


def test_the_log_is_read_from_its_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mace_app.jobs.text_tail.TAIL_BYTES", 200)
    for number in range(100):
        folder.append_log(f"line {number}")
    lines = folder.log_tail(3)
    assert [line.split("  ")[1] for line in lines] == ["line 97", "line 98", "line 99"]
    assert all(line[:2] == "20" for line in folder.log_tail(1000)), "the first line of a block may be half a line"


def test_progress_is_kept_between_calls_written_seldom_and_reset_with_the_phase(folder: RunFolder) -> None:
    write = ProgressWriter(folder, interval=3600)
    write(phase="preparing", message="Graphs", done=1, total=10)
    write(done=5)
    progress = folder.progress()
    assert progress is not None
    assert progress.fraction == 0.1
    write(phase="training", epoch=1, epochs=20)
    progress = folder.progress()
    assert progress is not None
    assert (progress.phase, progress.done, progress.epoch, progress.fraction) == ("training", None, 1, None)
    assert abs(progress.updated - time.time()) < 60
    with pytest.raises(ValueError, match="eta"):
        write.folder.write_progress(phase="training", eta=3)


def test_only_listed_files_are_downloads_and_links_out_of_the_run_are_not(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "model.pt").write_bytes(b"1234")
    (folder.path / "secret.txt").write_text("no")
    (tmp_path / "outside").write_text("no")
    (folder.path / "report.json").symlink_to(tmp_path / "outside")
    first = folder.downloads()[0]
    assert (first.name, first.size) == ("model.pt", 4)
    assert {item.name for item in folder.downloads()} == {"model.pt", "options.yaml", "run.json"}
    for name in ("secret.txt", "../outside", "report.json", "/etc/passwd", "checkpoints/../run.json"):
        with pytest.raises(RunFolderError, match="to download"):
            folder.download_path(name)


def test_a_checkpoint_kind_cannot_lead_elsewhere(folder: RunFolder) -> None:
    assert folder.checkpoint_path("epoch_10").parent == folder.path / "checkpoints"
    with pytest.raises(ValueError, match="kind of checkpoint"):
        folder.checkpoint_path("../../x")
