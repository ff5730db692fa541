"""The analysis page without a browser: what is said, what is chosen, and what hostile names do."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_samples import made_up
from ase.io import read
from page_helpers import all_text
from run_samples import pose_as_supervisor
from streamlit.testing.v1 import AppTest

from mace_app.analysis import Analysis, Label, write_analysis
from mace_app.jobs import Workspace
from mace_app.options import TargetInfo
from mace_app.ui.analysis_state import Selection

OpenPage = Callable[..., AppTest]
HOSTILE = "<b>*bold*</b> [x](javascript:alert(1)) `code` $x$"


@pytest.fixture
def put(workspace_path: Path) -> Callable[..., Path]:
    """``put(analysis, "name")`` stores it where the job would."""

    def put_(
        analysis: Analysis, name: str = "one", model: str = "Made up", created: str = "2026-01-01T10:00:00"
    ) -> Path:
        space = Workspace(workspace_path)
        info = replace(analysis.info, model={**analysis.info.model, "name": model}, created=f"{created}+00:00")
        path = space.root / "analyses" / name / "result"
        path.parent.mkdir(parents=True)
        write_analysis(path, replace(analysis, info=info))
        return path

    return put_


def components(app: AppTest, name: str) -> list[dict[str, Any]]:
    """The data of our own components on the page."""
    return [
        json.loads(element.proto.json) for element in app.get("bidi_component") if element.proto.component_name == name
    ]


def chosen(app: AppTest, name: str = "one") -> Selection:
    return app.session_state["analysis_selections"][name]  # type: ignore[no-any-return]


def pick(app: AppTest, key: str, value: object) -> AppTest:
    app.selectbox(key=key).set_value(value).run()
    assert not app.exception, app.exception
    return app


def scene(app: AppTest) -> dict[str, Any]:
    return components(app, "mace_structure_view")[0]


def test_an_empty_workspace_says_how_an_analysis_comes_about(open_page: OpenPage) -> None:
    assert "It needs a model" in all_text(open_page("analysis"))


def test_the_newest_analysis_is_shown_and_the_address_names_another(open_page: OpenPage, put: Any) -> None:
    put(made_up(20), "old", "Old one", "2025-01-01T10:00:00")
    put(made_up(30), "new", "New one", "2026-01-01T10:00:00")
    app = open_page("analysis")
    assert app.selectbox(key="analysis-id").value == "new" and app.query_params["analysis"] in ("new", ["new"])
    app = open_page("analysis", analysis="old")
    assert app.selectbox(key="analysis-id").value == "old"
    gone = open_page("analysis", analysis="../../etc")
    assert "There is no analysis" in all_text(gone) and gone.selectbox(key="analysis-id").value == "new"


def test_a_damaged_analysis_is_a_sentence_and_the_others_are_shown(open_page: OpenPage, put: Any) -> None:
    put(made_up(20), "good")
    (put(made_up(20), "headless") / "analysis.json").write_text("{")
    (put(made_up(20), "armless", created="2025-01-01T10:00:00") / "atoms.parquet").unlink()
    app = open_page("analysis", analysis="good")
    assert "can't be read" in all_text(app) and components(app, "mace_live_plotly")
    assert "can't be shown" in all_text(open_page("analysis", analysis="armless"))


def test_errors_are_told_in_the_unit_that_is_chosen_and_by_component_or_vector(open_page: OpenPage, put: Any) -> None:
    put(made_up())
    app = pick(open_page("analysis"), "analysis-label", "energy.forces")
    metrics = {metric.label: metric.value for metric in app.metric}
    assert float(metrics["RMSE (meV/Å)"]) == pytest.approx(30, rel=0.05)
    assert "every vector counts three times" in all_text(app)
    pick(app, "analysis-part-energy-forces", "whole vectors")
    by_vector = {metric.label: metric.value for metric in app.metric}
    assert float(by_vector["RMSE (meV/Å)"]) == pytest.approx(30 * 3**0.5, rel=0.05)
    assert "length of the difference" in all_text(app)
    pick(app, "analysis-unit-energy-forces-False", "kcal/mol/bohr")
    assert "RMSE (kcal/mol/bohr)" in {metric.label for metric in app.metric}
    pick(app, "analysis-split", "validation")
    half = {metric.label: metric.value for metric in app.metric}["Values"]
    assert int(half.replace("\u202f", "")) == pytest.approx(int(by_vector["Values"].replace("\u202f", "")) / 2, rel=0.1)


def test_without_a_choice_the_worst_structure_is_shown_with_its_forces(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(30, periodic=True)
    forces = analysis.labels["energy.forces"]
    forces.prediction[analysis.rows("energy.forces", 17)] += 0.5
    put(analysis)
    app = pick(open_page("analysis"), "analysis-label", "energy.forces")
    shown = scene(app)
    assert shown["title"].startswith("Structure 17,") and shown["cell"] is not None and shown["pbc"] == [True] * 3
    assert np.array(shown["prediction"]) == pytest.approx(
        forces.prediction[analysis.rows("energy.forces", 17)], abs=1e-5
    )
    assert min(shown["errors"]) > 100 and shown["error_unit"] == "meV/Å"
    lines = components(app, "mace_choice_table")[0]["lines"]
    assert lines[0]["cells"][0] == "17" and len(lines) == 30


def test_one_choice_is_shown_by_the_list_the_structure_and_every_chart(open_page: OpenPage, put: Any) -> None:
    put(made_up(40))
    app = pick(open_page("analysis"), "analysis-label", "energy.forces")
    chosen(app).choose(np.array([3, 7, 9]), np.arange(40.0))
    app.run()
    assert scene(app)["title"].startswith("Structure 9,") and "of 3 chosen" in all_text(app)
    charts = {chart["name"]: chart["figure"] for chart in components(app, "mace_live_plotly") if chart.get("regions")}
    marks = components(app, "mace_live_marks")[0]["marks"]
    assert marks.keys() == charts.keys() and len(marks) == 3 and all(marks.values())
    app.button(key="analysis-next").click().run()
    assert scene(app)["title"].startswith("Structure 7,")
    now = {chart["name"]: chart["figure"] for chart in components(app, "mace_live_plotly") if chart.get("regions")}
    assert now == charts, "figures are not sent again for what is chosen in them"
    app.button(key="analysis-previous").click().run()
    app.button(key="analysis-previous").click().run()
    assert scene(app)["title"].startswith("Structure 3,")
    pick(app, "analysis-label", "energy")
    assert sorted(chosen(app).rows.tolist()) == [3, 7, 9], "another quantity keeps the choice, and ranks it anew"
    assert chosen(app).current == 3, "what is looked at stays"
    app.button(key="analysis-none").click().run()
    assert chosen(app).current is None and "Nothing is chosen" in all_text(app)


def test_every_chart_can_be_drawn(open_page: OpenPage, put: Any) -> None:
    put(made_up(300))
    app = pick(open_page("analysis"), "analysis-label", "energy.forces")
    group = next(g for g in app.get("button_group") if g.label == "Charts")
    group.set_value(list(group.options)).run()
    assert not app.exception
    keys = {chart["name"] for chart in components(app, "mace_live_plotly")}
    assert {"analysis-parity", "analysis-map", "analysis-cumulative", "analysis-structure-size"} <= keys


def test_targets_of_many_values_are_curves_and_tensors_have_components(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(20)
    random = np.random.default_rng(0)
    dos, stress = random.normal(size=(20, 40)), random.normal(size=(20, 3, 3))
    labels = {
        **analysis.labels,
        "mtt::dos": Label("mtt::dos", "", False, False, dos, dos + 0.1),
        "energy.stress": Label("energy.stress", "eV/Å^3", False, False, stress, stress + 0.01),
    }
    targets = {**analysis.info.targets, "mtt::dos": TargetInfo("mtt::dos", num_subtargets=40)}
    put(replace(analysis, labels=labels, info=replace(analysis.info, targets=targets)))
    app = pick(open_page("analysis"), "analysis-label", "mtt::dos")
    assert "analysis-curves" in {chart["name"] for chart in components(app, "mace_live_plotly")}
    pick(app, "analysis-label", "energy.stress")
    assert "xy" in app.selectbox(key="analysis-part-energy-stress").options


def test_a_finding_chooses_its_structures(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(100)
    energy = analysis.labels["energy"]
    shifted = analysis.structures.group == "cold"
    shifted[:60] = False
    groups = np.where(shifted, "odd", analysis.structures.group)
    energy.reference[shifted] += 0.5 * analysis.structures.n_atoms[shifted][:, None]
    put(replace(analysis, structures=replace(analysis.structures, group=groups)))
    app = open_page("analysis")
    button = next(button for button in app.button if str(button.key).startswith("analysis-finding"))
    assert "odd" in button.label and "shifted" in button.label
    button.click().run()
    assert set(chosen(app).rows.tolist()) == set(np.flatnonzero(shifted).tolist())


def test_another_model_on_the_same_data_lies_beside_it(open_page: OpenPage, put: Any) -> None:
    first = made_up(40)
    energy = first.labels["energy"]
    better = replace(energy, prediction=energy.reference + 0.1 * (energy.prediction - energy.reference))
    put(first, "first", "First")
    put(replace(first, labels={**first.labels, "energy": better}), "second", "Second", "2025-01-01T10:00:00")
    other = made_up(5)
    other = replace(other, info=replace(other.info, data=[{"name": "else", "path": "else", "sha256": "9" * 64}]))
    put(other, "else", "Else", "2024-01-01T10:00:00")
    app = open_page("analysis", analysis="first")
    options = app.selectbox(key="analysis-ghost-first").options
    assert len(options) == 2 and any("Second" in option for option in options)
    pick(app, "analysis-ghost-first", "second")
    assert "on 40" in all_text(app) and "other: " in app.metric[0].delta
    figure = json.loads(components(app, "mace_live_plotly")[0]["figure"])
    assert any(trace.get("name") == "The other model" for trace in figure["data"])
    pick(app, "analysis-label", "energy.forces")
    assert "has the smaller error on 0 of 40" in all_text(app)


def test_names_of_files_groups_and_models_are_shown_as_they_are(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(20, groups=(HOSTILE, "plain"))
    table = replace(analysis.structures, dataset=np.full(20, f"/data/{HOSTILE}.xyz"))
    put(replace(analysis, structures=table), "one", HOSTILE)
    app = open_page("analysis")
    assert not app.exception
    for element in (*app.markdown, *app.caption):
        outside = re.sub(r"`[^`]*`", "", element.value)
        assert "<b>" not in outside.replace("\\<", "") and "](javascript" not in outside.replace("\\]", "")
    cells = [
        cell for table in components(app, "mace_choice_table") for line in table["lines"] for cell in line["cells"]
    ]
    assert HOSTILE in cells, "cells are text for the browser, not markup"


def test_an_analysis_without_any_pair_says_so(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(5)
    empty = {
        name: replace(label, reference=np.full_like(label.reference, np.nan)) for name, label in analysis.labels.items()
    }
    put(replace(analysis, labels=empty))
    assert "No structure here has a label" in all_text(open_page("analysis"))


def test_a_predicted_uncertainty_stands_beside_the_error_of_its_energy(open_page: OpenPage, put: Any) -> None:
    analysis = made_up(30)
    sigma = 0.002 * analysis.structures.n_atoms
    info = replace(analysis.info, uncertainty={"method": "LLPR", "target": "energy", "unit": "eV"})
    put(replace(analysis, structures=replace(analysis.structures, uncertainty=sigma), info=info))
    app = open_page("analysis")
    group = next(g for g in app.get("button_group") if g.label == "Charts")
    assert "Uncertainty" in group.options
    group.set_value(["Uncertainty"]).run()
    figure = json.loads(components(app, "mace_live_plotly")[0]["figure"])
    assert figure["data"][1]["x"] == pytest.approx([2.0] * 30), "in meV/atom"
    pick(app, "analysis-label", "energy.forces")
    assert "Uncertainty" not in next(g for g in app.get("button_group") if g.label == "Charts").options


def test_what_is_chosen_becomes_a_data_set(open_page: OpenPage, put: Any, workspace_path: Path) -> None:
    put(made_up(40))
    pose_as_supervisor(Workspace(workspace_path))
    app = open_page("analysis")
    assert not [button for button in app.button if button.key == "analysis-dataset"]
    chosen(app).choose(np.array([3, 7]), np.arange(40.0))
    app.run()
    app.button(key="analysis-dataset").click().run()
    (folder,) = Workspace(workspace_path).datasets()
    frames = read(folder.source_path, ":")
    assert [atoms.info["source_frame"] for atoms in frames] == [3, 7] and "reference_energy" in frames[0].info


def test_an_analysis_is_removed_and_the_next_one_is_shown(open_page: OpenPage, put: Any, workspace_path: Path) -> None:
    put(made_up(20), "old", "Old one", "2025-01-01T10:00:00")
    put(made_up(30), "new", "New one", "2026-01-01T10:00:00")
    app = open_page("analysis", analysis="new")
    app.button(key="analysis-delete").click().run()
    app.run()
    assert not app.exception and not (workspace_path / "analyses" / "new").exists()
    assert app.selectbox(key="analysis-id").value == "old"
