import io
from pathlib import Path

import pytest
from real_processes import wait_until

from mace_app.jobs import DatasetFolder, Workspace, WorkspaceError
from mace_app.jobs.inspection import main
from mace_app.jobs.supervisor import Supervisor

FRAME = (
    "2\n"
    'Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="F F F"\n'
    "O 0.0 0.0 0.0 0.0 0.0 0.1\n"
    "H 0.0 0.0 {distance} 0.0 0.0 -0.1\n"
)


def structures(count: int) -> bytes:
    frames = (FRAME.format(energy=-10 - 0.01 * index, distance=0.95 + 1e-5 * index) for index in range(count))
    return "".join(frames).encode()


def inspected(workspace: Workspace, dataset: DatasetFolder) -> None:
    supervisor = Supervisor(workspace, devices={"cpu": {}})
    workspace.start_inspection(dataset)

    def over() -> bool:
        supervisor.step()
        return not workspace.queue.active()

    wait_until(over, 60, "the end of the inspection")


def test_an_upload_is_inspected_by_a_process_of_its_own(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("Water", io.BytesIO(structures(20)), "water.xyz")
    inspected(workspace, dataset)
    assert dataset.inspection_error() is None
    assert dataset.inspection_state() == "done"
    inspection = dataset.inspection()
    assert inspection is not None
    assert inspection.structures == 20
    assert inspection.elements.keys() == {1, 8}
    assert not (dataset.path / "inspection_progress.json").exists()


def test_a_broken_file_leaves_the_sentence_of_the_reader_and_can_be_inspected_again(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("Water", io.BytesIO(b""), "water.xyz")
    inspected(workspace, dataset)
    assert dataset.inspection_state() == "failed"
    assert "water.xyz" in (dataset.inspection_error() or "")
    assert "Traceback" not in (dataset.inspection_error() or "")
    dataset.source_path.write_bytes(structures(3))
    inspected(workspace, dataset)
    assert dataset.inspection_state() == "done"


def test_a_file_that_is_gone_gives_a_sentence(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "water.xyz"
    path.write_bytes(structures(1))
    dataset = workspace.add_dataset("Water", path)
    path.unlink()
    inspected(workspace, dataset)
    assert "is gone" in (dataset.inspection_error() or "")


def test_a_cancelled_inspection_ends_without_a_result(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("Water", io.BytesIO(structures(5000)), "water.xyz")
    dataset.begin_inspection()
    dataset.cancel_inspection()
    assert main([str(dataset.path)]) == 2
    assert dataset.inspection_state() == "cancelled"
    assert dataset.inspection() is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 2}'])
def test_a_damaged_result_asks_for_a_new_inspection(workspace: Workspace, content: str) -> None:
    dataset = workspace.add_dataset("Water", io.BytesIO(structures(1)))
    (dataset.path / "inspection.json").write_text(content)
    with pytest.raises(WorkspaceError, match=r"inspection\.json"):
        dataset.inspection()
