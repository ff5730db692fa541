"""Files of TensorBoard and Weights & Biases from real trainings, read back."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_data import options, write_waters
from tensorboardX.proto.event_pb2 import Event

from mace_app.jobs import RunFolder
from mace_app.options import dump_options, parse_options
from mace_app.tasks.loggers import EventFiles, check_loggers, numbers
from mace_app.tasks.train import train_run

WANDB = {"project": "waters", "entity": "us", "name": "One", "group": "seeds", "tags": ["small"], "notes": "A note."}


def begin(folder: Path, **run: Any) -> RunFolder:
    value = {**options(write_waters(folder / "data.xyz"), num_epochs=3), **run}
    return RunFolder.create(folder / "run", dump_options(parse_options(value)), "Waters")


def events(run: RunFolder) -> dict[int, dict[str, float]]:
    """What TensorBoard would read: epoch → tag → value."""
    (path,) = (run.path / "tensorboard").glob("events.out.tfevents.*")
    block, at, found = path.read_bytes(), 0, {}
    while at < len(block):
        (length,) = struct.unpack_from("<Q", block, at)
        event = Event.FromString(block[at + 12 : at + 12 + length])
        at += 12 + length + 4
        if event.summary.value:
            assert event.step not in found
            found[event.step] = {value.tag: value.simple_value for value in event.summary.value}
    return found


def blocks(block: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB has it: pieces in blocks of 32 kB, behind a header of seven bytes each."""
    at, record = 7, b""
    assert block.startswith(b":W&B")
    while at + 7 <= len(block):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", block, at + 4)
        record += block[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def wandb_records(run: RunFolder) -> tuple[Any, list[dict[str, str]], dict[str, str]]:
    """The run's record, its history and its summary, as ``wandb sync`` reads them."""
    from wandb.proto import wandb_internal_pb2

    def values(items: Any) -> dict[str, str]:
        return {item.key or "/".join(item.nested_key): item.value_json for item in items}

    (path,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    about, history, summary = None, [], {}
    for data in blocks(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            about = record.run
        elif kind == "history":
            history.append(values(record.history.item))
        elif kind == "summary":
            summary |= values(record.summary.update)
    return about, history, summary


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = begin(tmp_path_factory.mktemp("loggers"), tensorboard=True, wandb=WANDB)
    assert train_run(run) == "finished", run.info().reason
    return run


def test_every_number_of_every_epoch_is_in_the_event_file(trained: RunFolder) -> None:
    found = events(trained)
    assert list(found) == [0, 1, 2, 3]
    for record in trained.metrics().epochs:
        assert found[record["epoch"]] == pytest.approx(numbers(record), rel=1e-6)
    assert {"train/loss", "validation/energy/mae", "learning_rate"} <= set(found[3])


def test_the_offline_files_hold_the_epochs_the_options_and_the_final_errors(trained: RunFolder) -> None:
    about, history, summary = wandb_records(trained)
    assert (about.project, about.entity, about.run_group) == ("waters", "us", "seeds")
    assert (about.display_name, list(about.tags), about.notes) == ("One", ["small"], "A note.")
    assert about.run_id == trained.id and "hidden_irreps" in str(about.config)
    assert [int(float(row["epoch"])) for row in history] == [0, 1, 2, 3]
    epochs = trained.metrics().epochs
    assert [float(row["validation/loss"]) for row in history] == pytest.approx([e["validation/loss"] for e in epochs])
    report = trained.report()
    assert report is not None
    final = report["splits"]["validation"]["energy"]["mae"]
    assert float(summary["final/validation/energy/mae"]) == pytest.approx(final)
    assert "wandb sync" in (trained.path / "log.txt").read_text()


def test_nothing_else_is_written_for_others(trained: RunFolder) -> None:
    """No list of packages, no log of the program, no name of the machine."""
    (folder,) = (trained.path / "wandb").iterdir()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [f"run-{trained.id}.wandb"]
    about, _, _ = wandb_records(trained)
    assert about.host == "" and not about.git.commit


def test_a_new_process_writes_the_epochs_before_it_again(trained: RunFolder, tmp_path: Path) -> None:
    run = begin(tmp_path)
    for record in trained.metrics().epochs[:2]:
        run.append_metrics(record)
    (run.path / "tensorboard").mkdir()
    (run.path / "tensorboard" / "events.out.tfevents.1.old").write_bytes(b"of a worker that was killed")
    writer = EventFiles(run)
    writer.epoch(trained.metrics().epochs[2])
    writer.close()
    assert list(events(run)) == [0, 1, 2]


def test_epochs_after_the_checkpoint_are_written_once_they_are_trained_again(
    trained: RunFolder, tmp_path: Path
) -> None:
    run = begin(tmp_path)
    for record in trained.metrics().epochs:
        run.append_metrics(record)
    writer = EventFiles(run, up_to=1)
    writer.epoch(trained.metrics().epochs[2])
    writer.close()
    assert list(events(run)) == [0, 1, 2]


def test_event_files_that_cannot_be_written_cost_nothing_but_a_warning(tmp_path: Path) -> None:
    run = begin(tmp_path, tensorboard=True)
    (run.path / "tensorboard").write_text("a file in the way")
    assert train_run(run) == "finished"
    assert "No TensorBoard files" in (run.path / "log.txt").read_text()


def test_without_the_package_the_run_says_so_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = begin(tmp_path, wandb=WANDB)
    with pytest.raises(Exception, match="pip install wandb"):
        check_loggers(run.options())
    assert train_run(run) == "failed"
    assert "wandb" in (run.info().reason or "") and not run.metrics_file.exists()
