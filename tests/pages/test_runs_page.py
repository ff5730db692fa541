"""The Runs page without a browser: what is shown of runs in every state, and what its buttons do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from run_samples import add_epochs, finish, full_workspace, make_run, pose_as_supervisor, pose_as_worker
from streamlit.testing.v1 import AppTest

from mace_app.jobs import Failure, RunFolder, Suggestion, Workspace
from mace_app.ui.draft import Draft
from mace_app.ui.wizard import DRAFT_FILE

OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    """What can be read, without what keeps Markdown from being Markdown."""
    elements = (
        *app.title,
        *app.header,
        *app.subheader,
        *app.markdown,
        *app.caption,
        *app.error,
        *app.info,
        *app.warning,
    )
    return "\n".join(str(element.value) for element in elements).replace("\\", "").replace("\u2060", "")


def components(app: AppTest, name: str) -> list[dict[str, object]]:
    """What was handed to our browser components of this name."""
    found = [element.proto for element in app.get("bidi_component")]
    return [json.loads(proto.json) for proto in found if proto.component_name == name]


def button(app: AppTest, label: str) -> object:
    return next(element for element in app.button if element.label == label)


@pytest.fixture
def space(workspace_path: Path) -> Workspace:
    space = Workspace(workspace_path)
    pose_as_supervisor(space)
    return space


def named(space: Workspace, part: str) -> RunFolder:
    return next(run for run in space.runs() if part in run.id)


def test_an_empty_workspace_says_how_a_run_comes_about(open_page: OpenPage) -> None:
    assert "Nothing has been trained here yet" in words(open_page("runs"))


def test_the_list_shows_runs_of_every_state_and_a_damaged_one(open_page: OpenPage, workspace_path: Path) -> None:
    full_workspace(workspace_path)
    rows = {row["id"]: row for row in components(open_page("runs"), "mace_run_table")[0]["rows"]}  # type: ignore[attr-defined]
    by_state = {row["state"]: row for row in rows.values()}
    assert set(by_state) == {"queued", "running", "finished", "failed", "stopped", "interrupted", "damaged"}
    assert by_state["queued"]["phase"] == "Waiting, number 1"
    running = by_state["running"]
    assert (running["epoch"], running["phase"]) == ("25 of 60", "Training")
    assert running["fraction"] == pytest.approx(25 / 60)
    assert "meV/atom" in running["best"] and "meV/Å" in running["best"]
    assert running["left"] == "1 min 17 s"
    assert by_state["failed"]["name"].startswith("<b>bold</b>")
    assert by_state["finished"]["fraction"] is None


@pytest.mark.parametrize("state", ["queued", "running", "finished", "stopped", "failed", "interrupted"])
def test_every_state_has_a_page_with_its_name_state_and_actions(
    open_page: OpenPage, workspace_path: Path, state: str
) -> None:
    space = full_workspace(workspace_path)
    run = next(run for run in space.runs() if "damaged" not in run.id and run.info().state == state)
    app = open_page("runs", run=run.id)
    assert run.info().name in words(app)
    assert f"{state}]" in "".join(element.value for element in app.markdown)
    labels = {element.label for element in app.button}
    active = state in ("queued", "running")
    assert ("Stop" in labels) == active and ("Delete" in labels) != active
    assert ("Resume" in labels) == (state in ("stopped", "failed", "interrupted"))
    assert "model.r_max" in app.table[-1].value.to_string()
    assert len(components(app, "mace_live_plotly")) == (0 if state in ("queued", "interrupted") else 12)


def test_a_failed_run_says_why_as_text_and_has_its_log_one_click_away(
    open_page: OpenPage, workspace_path: Path
) -> None:
    run = named(full_workspace(workspace_path), "bold")
    app = open_page("runs", run=run.id)
    assert "lower `learning_rate`" in app.error[0].value and "\\<script\\>" in app.error[0].value
    assert next(block.label for block in app.expander) == "Log"


def test_a_finished_run_shows_errors_per_split_and_checks_of_the_file(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "done", "finished")
    add_epochs(run, 0, 3)
    finish(run, b"model")
    app = open_page("runs", run=run.id)
    errors, checks = app.table[0].value, app.table[1].value
    assert list(errors["Split"]) == ["Training"] * 3 + ["Validation"] * 3
    assert list(errors["MAE"])[:3] == ["1.10", "21.0", "0.00400"]
    assert [text.replace("\\", "") for text in errors["Unit"]][:3] == ["meV/atom", "meV/Å", "e·Å"]
    assert all("agrees" in text for text in checks["Result"])


def test_a_check_beyond_its_tolerance_is_not_called_agreement(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "done", "finished")
    finish(run, b"model")
    report = run.report()
    assert report is not None
    report["export"]["checks"][0]["max_difference"] = 1.0
    run.write_report(report)
    results = list(open_page("runs", run=run.id).table[1].value["Result"])
    assert "differs" in results[0] and "agrees" in results[1]


def test_only_options_that_differ_from_their_defaults_are_listed(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "options", "stopped")
    listed = open_page("runs", run=run.id).table[-1].value
    assert {name.strip("`") for name in listed["Option"]} == {
        "device",
        "atomic_types",
        "model.hidden_irreps",
        "model.r_max",
        "training.batch_size",
        "training.num_epochs",
    }


def test_stop_takes_a_waiting_run_out_of_the_queue_and_resume_puts_it_back(
    open_page: OpenPage, space: Workspace
) -> None:
    run = make_run(space, "waiting", "queued")
    app = open_page("runs", run=run.id)
    button(app, "Stop").click()  # type: ignore[attr-defined]
    app.run()
    assert run.info().state == "stopped" and space.queue.place(f"runs/{run.id}") is None
    assert "Stopped before it began" in words(app)
    button(app, "Resume").click()  # type: ignore[attr-defined]
    app.run()
    assert run.info().state == "queued" and space.queue.place(f"runs/{run.id}") == 1


def test_stop_asks_a_running_training_to_keep_its_best_weights(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "running", "running")
    pose_as_worker(run)
    add_epochs(run, 0, 2)
    app = open_page("runs", run=run.id)
    button(app, "Stop").click()  # type: ignore[attr-defined]
    app.run()
    assert run.stop_requested() == "best" and run.info().state == "stopping"
    assert button(app, "Stopping …").disabled  # type: ignore[attr-defined]


@pytest.mark.parametrize("identifier", ["no-such-run", "../../etc", "<script>"])
def test_an_address_of_no_run_says_so(open_page: OpenPage, identifier: str) -> None:
    app = open_page("runs", run=identifier)
    assert "There is no run" in words(app) and identifier in words(app)


@pytest.mark.parametrize("file", ["options.yaml", "metrics.jsonl", "progress.json", "report.json", "splits.json"])
def test_a_damaged_file_costs_its_own_part_of_the_page_only(open_page: OpenPage, space: Workspace, file: str) -> None:
    run = make_run(space, "damaged in part", "stopped")
    add_epochs(run, 0, 2)
    finish(run, b"model")
    (run.path / file).write_bytes(b'{"format": \xff 1')
    assert "damaged in part" in words(open_page("runs", run=run.id))


def test_damaged_predictions_are_said_beside_the_other_charts(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "damaged in part", "stopped")
    add_epochs(run, 0, 2)
    run.parity_file.write_bytes(b"PK\x03\x04 no archive")
    app = open_page("runs", run=run.id)
    assert "is damaged" in words(app)
    assert len(components(app, "mace_live_plotly")) == 9


def test_fifty_runs_are_listed_and_can_be_searched(open_page: OpenPage, space: Workspace) -> None:
    for number in range(50):
        run = make_run(space, f"run {number}", "stopped" if number % 2 else "failed", "A reason.")
        add_epochs(run, 0, 1)
    app = open_page("runs")
    assert len(components(app, "mace_run_table")[0]["rows"]) == 50  # type: ignore[arg-type]
    app.text_input(key="runs-words").set_value("run 4").run()
    assert len(components(app, "mace_run_table")[0]["rows"]) == 11  # type: ignore[arg-type]
    app.button_group(key="runs-group").set_value("Failed").run()
    assert len(components(app, "mace_run_table")[0]["rows"]) == 6  # type: ignore[arg-type]


def test_the_settings_of_a_run_open_on_the_train_page(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "to repeat", "failed")
    app = open_page("runs", run=run.id)
    button(app, "Use its settings").click()  # type: ignore[attr-defined]
    app.run()
    assert not app.exception
    draft = Draft.load(space.root / DRAFT_FILE)
    assert draft.name == "to repeat"
    options, problems = draft.check()
    assert problems == [] and options == run.options()


def test_waiting_runs_can_be_moved_held_and_the_queue_paused(open_page: OpenPage, space: Workspace) -> None:
    first, second = make_run(space, "first", "queued"), make_run(space, "second", "queued")
    app = open_page("runs")
    assert "2 runs waiting" in words(app)
    app.menu_button(key=f"queue-{second.id}").click("Start next").run()
    assert space.queue.place(f"runs/{second.id}") == 1
    app.menu_button(key=f"queue-{first.id}").click("Hold").run()
    held = space.queue.active_job(f"runs/{first.id}")
    assert held is not None and held.held and "on hold" in words(app)
    app.button(key="queue-pause").click().run()
    assert space.queue.paused and "No waiting run starts" in words(app)
    rows = components(app, "mace_run_table")[0]["rows"]
    assert {row["name"]: row["phase"] for row in rows} == {  # type: ignore[attr-defined]
        "first": "On hold, number 2",
        "second": "Queue paused, number 1",
    }
    app.button(key="queue-go-on").click().run()
    assert not space.queue.paused


def test_an_archived_run_leaves_the_list_and_comes_back(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "old", "stopped")
    make_run(space, "new", "stopped")
    app = open_page("runs", run=run.id)
    app.menu_button(key="run-more").click("Archive").run()
    assert run.info().archived
    app = open_page("runs")
    assert [row["name"] for row in components(app, "mace_run_table")[0]["rows"]] == ["new"]  # type: ignore[attr-defined]
    app.button_group(key="runs-group").set_value("Archived").run()
    assert [row["name"] for row in components(app, "mace_run_table")[0]["rows"]] == ["old"]  # type: ignore[attr-defined]
    app = open_page("runs", run=run.id)
    app.menu_button(key="run-more").click("Bring back from the archive").run()
    assert not run.info().archived


def test_a_suggestion_is_one_click(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "too large", "failed", "The memory is not enough.")
    path = ("architecture", "training", "batch_size")
    suggestion = Suggestion(path, 4, 8, "Set `batch_size` to 4 (now 8)")
    run.update(failure=Failure("out_of_memory", suggestion).to_json())
    app = open_page("runs", run=run.id)
    app.button(key="run-suggestion").click().run()
    assert not app.exception
    assert run.info().state == "queued" and run.options().architecture.training.batch_size == 4


def test_a_run_without_a_sign_of_life_says_so(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "hangs", "running")
    pose_as_worker(run)
    run.update(not_responding="2025-01-31T12:00:00+00:00", tags=["long"], note="On the old card")
    said = words(open_page("runs", run=run.id))
    assert "Nothing of this run has changed since 2025-01-31" in said and "On the old card" in said and "long" in said
    (row,) = components(open_page("runs"), "mace_run_table")[0]["rows"]  # type: ignore[misc]
    assert row["phase"].startswith("No sign of life since 2025-01-31") and "#long" in row["created"]


def test_runs_are_compared_by_curves_errors_and_the_options_that_differ(open_page: OpenPage, space: Workspace) -> None:
    runs = [make_run(space, name, "finished") for name in ("one", "two")]
    for run in runs:
        add_epochs(run, 0, 5)
        finish(run, b"model")
    report = runs[1].report()
    assert report is not None
    report["splits"]["validation"]["energy"]["mae"] /= 2
    runs[1].write_report(report)
    text = runs[1].options_text()
    assert "batch_size: 8" in text
    runs[1].write_options(text.replace("batch_size: 8", "batch_size: 16"))
    app = open_page("runs", compare=",".join(run.id for run in runs))
    figures = [json.loads(chart["figure"]) for chart in components(app, "mace_live_plotly")]  # type: ignore[arg-type]
    assert len(figures) == 5 and all(
        [trace["name"] for trace in figure["data"]] == ["one", "two"] for figure in figures
    )
    errors, options = app.table[0].value, app.table[1].value
    energy = errors[errors[""].str.startswith("Validation: Energy")].iloc[0]
    assert energy["two"].startswith("**") and not energy["one"].startswith("**")
    assert options.to_numpy().tolist() == [["`training.batch_size`", "`8`", "`16`"]]
