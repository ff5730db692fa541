"""Beginning an analysis: from the analysis page and from a run, and what is said while it is not done."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analysis_samples import made_up
from page_helpers import all_text
from run_samples import make_run, pose_as_supervisor
from streamlit.testing.v1 import AppTest

from mace_app.analysis import write_analysis
from mace_app.jobs import (
    AnalysisFolder,
    AnalysisProgress,
    AnalysisRequest,
    DataChoice,
    ModelChoice,
    RunFolder,
    Workspace,
    WorkspaceError,
)

OpenPage = Callable[..., AppTest]


@pytest.fixture
def space(workspace_path: Path) -> Workspace:
    space = Workspace(workspace_path)
    pose_as_supervisor(space)
    return space


@pytest.fixture
def run(space: Workspace) -> RunFolder:
    run = make_run(space, "water", "finished")
    (run.path / "checkpoints").mkdir(exist_ok=True)
    (run.path / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    return run


def folder_of(run: RunFolder, name: str = "best-3-splits-0") -> AnalysisFolder:
    folder = AnalysisFolder(run.path / "analyses" / name)
    folder.path.mkdir(parents=True)
    model = {"kind": "run", "id": run.id, "name": "water", "path": "", "which": "best", "epoch": 3}
    folder.write_request(AnalysisRequest(model, {"kind": "splits", "sha256": "0"}))
    folder.begin()
    return folder


@pytest.fixture
def asked(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[ModelChoice, DataChoice | None]]:
    """What is asked for; each time the same folder begins to wait."""
    found: list[tuple[ModelChoice, DataChoice | None]] = []

    def request(self: Workspace, model: ModelChoice, data: DataChoice | None = None) -> AnalysisFolder:
        found.append((model, data))
        return folder_of(run)

    monkeypatch.setattr(Workspace, "request_analysis", request)
    return found


def test_without_a_model_the_way_to_one_is_shown(open_page: OpenPage, space: Workspace) -> None:
    text = all_text(open_page("analysis"))
    assert "There is none yet" in text and "It needs a model" in text


def test_an_analysis_is_begun_from_a_run_and_then_awaited(
    open_page: OpenPage, run: RunFolder, asked: list[tuple[ModelChoice, DataChoice | None]]
) -> None:
    app = open_page("analysis")
    app.button(key="analysis-start").click().run()
    assert not app.exception
    assert asked == [(ModelChoice(run=run.id, which="best"), DataChoice(dataset=None))]


def test_last_weights_and_the_exported_file_can_be_analysed_too(
    open_page: OpenPage, run: RunFolder, asked: list[tuple[ModelChoice, DataChoice | None]]
) -> None:
    (run.path / "checkpoints" / "last.safetensors").write_bytes(b"weights")
    (run.path / "model.pt").write_bytes(b"a program")
    app = open_page("analysis")
    assert app.selectbox(key="analysis-weights").options == ["best", "last", "exported"]
    app.selectbox(key="analysis-weights").set_value("exported").run()
    app.button(key="analysis-start").click().run()
    assert not app.exception
    assert asked == [(ModelChoice(file=str(run.path / "model.pt")), DataChoice(dataset=None))]


def test_what_is_at_work_is_shown_and_can_be_cancelled(open_page: OpenPage, run: RunFolder) -> None:
    folder = folder_of(run)
    folder.set_state("running")
    folder.write_progress(AnalysisProgress("predicting", "", 30, 120, 0.4, 8.0))
    app = open_page("analysis", analysis=folder.id)
    progress = app.get("progress")[0].proto.text.replace("\\", "")
    assert "water, best (epoch 3)" in progress and "30 of 120 structures · about 8 s left" in progress
    assert "appear here as soon as it is done" in all_text(app)
    app.button(key=f"analysis-cancel-{folder.id}").click().run()
    assert folder.cancelled()


def test_what_failed_says_why_and_can_be_removed(open_page: OpenPage, run: RunFolder) -> None:
    folder = folder_of(run)
    folder.set_state("failed", "The file `a.xyz` is gone; name it again.")
    app = open_page("analysis")
    assert "is gone; name it again" in all_text(app)
    app.button(key=f"analysis-remove-{folder.id}").click().run()
    assert not folder.path.exists()


def test_a_finished_one_beside_a_run_is_found(open_page: OpenPage, run: RunFolder) -> None:
    folder = folder_of(run)
    write_analysis(folder.result_path, made_up(20))
    folder.set_state("done")
    app = open_page("analysis", analysis=folder.id)
    assert app.selectbox(key="analysis-id").value == folder.id and app.metric


def test_a_refusal_is_a_sentence(open_page: OpenPage, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Workspace, model: ModelChoice, data: DataChoice | None = None) -> AnalysisFolder:
        raise WorkspaceError("The run has no `best` checkpoint yet. Wait for its first epoch.")

    monkeypatch.setattr(Workspace, "request_analysis", refuse)
    app = open_page("analysis")
    app.button(key="analysis-start").click().run()
    assert "Wait for its first epoch" in all_text(app)


def test_a_run_offers_its_analysis(
    open_page: OpenPage, run: RunFolder, asked: list[tuple[ModelChoice, DataChoice | None]]
) -> None:
    app = open_page("runs", run=run.id)
    next(button for button in app.button if button.label == "Analyse").click().run()
    assert asked[0][0].run == run.id
