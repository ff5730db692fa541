"""The batch script for a cluster, from the review of a training."""

from collections.abc import Callable

import pytest
from form_samples import TARGETS, molecules
from page_helpers import all_text
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder


@pytest.fixture
def app(open_page: Callable[..., AppTest], add_file: Callable[..., DatasetFolder]) -> AppTest:
    """The review of a training that could start, with the panel open."""
    folder = add_file(molecules(), "everything.xyz")
    folder.write_mapping({"length_unit": "angstrom", "targets": {"energy": TARGETS["energy"]}})
    app = open_page("train", step="data")
    app.multiselect(key="option-training_set-data").set_value(["everything"]).run()
    app.button(key="train-step-review").click().run()
    app.session_state["train-slurm"] = True
    return app.run()


def downloads(app: AppTest) -> list[str]:
    return [button.label for button in app.get("download_button") if "sbatch" in str(button.label)]


def test_a_script_is_offered_and_several_processes_are_said(app: AppTest) -> None:
    assert not app.exception
    assert len(downloads(app)) == 1
    assert "distributed: true" not in all_text(app)
    app.number_input(key="train-slurm-tasks").set_value(4).run()
    assert "distributed: true" in all_text(app)
    assert len(downloads(app)) == 1


def test_what_sbatch_would_not_read_is_said_and_nothing_is_offered(app: AppTest) -> None:
    app.text_input(key="train-slurm-time").set_value("tomorrow").run()
    assert not app.exception
    assert "no time that sbatch reads" in all_text(app)
    assert downloads(app) == []
    app.text_input(key="train-slurm-time").set_value("2-00").run()
    app.text_input(key="train-slurm-partition").set_value("gpu; rm").run()
    assert "no name of a partition" in all_text(app)
    app.text_input(key="train-slurm-partition").set_value("gpu").run()
    assert len(downloads(app)) == 1
