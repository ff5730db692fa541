from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from mace_app.jobs import Workspace
from mace_app.ui.samples import SAMPLES

OpenPage = Callable[..., AppTest]


def test_the_samples_are_in_the_repository_and_small() -> None:
    for sample in SAMPLES:
        assert sample.path.is_file(), sample.path
        assert sample.path.stat().st_size < 1_000_000


def test_an_empty_workspace_offers_the_samples_and_counts_nothing(open_page: OpenPage) -> None:
    app = open_page("home")
    assert [metric.value for metric in app.metric] == ["0", "0", "0", "0", "0"]
    assert {button.key for button in app.button} == {"home-sample-ethanol", "home-sample-copper_emt"}


def test_a_damaged_run_does_not_take_the_page_down(open_page: OpenPage, workspace_path: Path) -> None:
    folder = Workspace(workspace_path).runs_path / "20250101-000000-broken"
    folder.mkdir()
    (folder / "run.json").write_text("{")
    app = open_page("home")
    assert app.metric[1].value == "0"
