"""How an analysis comes about: what to compare, and the ones that wait, are at work or failed."""

from functools import partial

import streamlit as st

from mace_app.jobs import (
    AnalysisFolder,
    AnalysisProgress,
    DataChoice,
    FoundationFolder,
    JobsError,
    ModelChoice,
    RunFolder,
    Workspace,
)
from mace_app.ui.analysis_source import NEWEST
from mace_app.ui.run_reader import run_glances
from mace_app.ui.state import failure, page
from mace_app.ui.text import count, markdown, sentence_markdown
from mace_app.ui.times import clock, duration, file_size

SECONDS = 1.0
OWN = "its own training, validation and test structures"
PHASES = {
    "waiting": "Waiting",
    "reading": "Reading structures",
    "predicting": "Predicting",
    "saving": "Saving",
    "done": "Done",
}


def start_panel(space: Workspace, first: bool) -> None:
    """What to do for one; open as long as there is none."""
    if first:
        st.markdown(
            "An analysis sets the predictions of a model beside the labels of data: how large the errors are, of which "
            "elements and groups, and which structures are the worst, in 3D with both forces. There is none yet."
        )
        _form(space)
        return
    with st.expander("New analysis", icon=":material/add:", key="analysis-new"):
        _form(space)


def analyse_run(space: Workspace, run: RunFolder, active: bool) -> None:
    """A button for a run's page. It leads to the analysis of the best weights, which may be there already; while the
    run is at work, to its newest validation."""
    there = run.parity_file if active else run.path / "checkpoints" / "best.safetensors"
    words = "Its newest validation" if active else "Where its best weights are wrong"
    if there.exists() and st.button(
        "Analyse", icon=":material/scatter_plot:", help=f"{words}, structure by structure."
    ):
        if active:
            st.switch_page(page("analysis"), query_params={"analysis": f"{NEWEST}{run.id}"})
        _request(space, ModelChoice(run=run.id), DataChoice())


def _form(space: Workspace) -> None:
    models = _models(space)
    if not models:
        st.markdown("It needs a model: train one, or add a foundation model.")
        with st.container(horizontal=True, gap="small"):
            st.page_link(page("train"), label="Train", icon=":material/model_training:")
            st.page_link(page("foundation"), label="Foundation models", icon=":material/foundation:")
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        names = list(models)
        chosen = models[
            st.selectbox("Model", names, format_func=lambda name: models[name][0], key="analysis-model", width=340)
        ]
        source = chosen[1]
        asked_for = _weights(source) if isinstance(source, RunFolder) else _published_or_exported(source)
        datasets = {folder.id: folder.name for folder in space.datasets() if folder.mapping()}
        options = [*([None] if isinstance(source, RunFolder) else []), *datasets]
        if not options:
            st.caption("A foundation model needs a data set whose keys have a meaning; see the Datasets page.")
            return
        data = st.selectbox(
            "Structures",
            options,
            format_func=lambda identifier: OWN if identifier is None else datasets[identifier],
            key=f"analysis-data-{len(options)}-{isinstance(source, RunFolder)}",
            width=340,
        )
        asked = st.button("Analyse", type="primary", icon=":material/scatter_plot:", key="analysis-start")
    if asked:
        _request(space, asked_for, DataChoice(dataset=data))


def _weights(run: RunFolder) -> ModelChoice:
    """The best or the last weights of a run, or the file it exported."""
    exported = run.path / "model.pt"
    offered = ["best"]
    if (run.path / "checkpoints" / "last.safetensors").exists():
        offered.append("last")
    if exported.exists():
        offered.append("exported")
    which = "best"
    if len(offered) > 1:
        which = st.selectbox(
            "Weights",
            offered,
            key="analysis-weights",
            width=130,
            help="Of the best or the last epoch; or the exported file, as a simulation would run it.",
        )
    if which == "exported":
        return ModelChoice(file=str(exported))
    return ModelChoice(run=run.id, which="last" if which == "last" else "best")


def _published_or_exported(foundation: FoundationFolder) -> ModelChoice:
    """A head of a foundation model, or a file exported from it."""
    heads = list((foundation.facts() or {}).get("heads") or [])
    exports = {export.name: export.path for export in foundation.exports() if export.path is not None}
    file = None
    if exports:
        file = st.selectbox(
            "File",
            [None, *exports],
            format_func=lambda name: "as published" if name is None else name,
            key="analysis-file",
            width=200,
            help="The published file, or one that was exported from it, as a simulation would run it.",
        )
    if file is not None:
        return ModelChoice(file=str(exports[file]))
    head = None
    if len(heads) > 1:
        head = st.selectbox("Head", heads, format_func=str, key="analysis-head", width=160)
    return ModelChoice(foundation=foundation.id, head=head)


def _models(space: Workspace) -> dict[str, tuple[str, RunFolder | FoundationFolder]]:
    """Runs with weights and foundation models that were read, by a name of their own, with what people call them."""
    found: dict[str, tuple[str, RunFolder | FoundationFolder]] = {}
    for glance in run_glances().all(space.runs()):
        run = glance.run
        if glance.info is not None and not glance.archived and (run.path / "checkpoints/best.safetensors").exists():
            found[f"run {run.id}"] = (f"{glance.name} · {clock(glance.info.created)}", run)
    for foundation in space.foundations():
        try:
            if foundation.facts() is not None:
                found[f"foundation {foundation.id}"] = (f"{foundation.name} (foundation model)", foundation)
        except JobsError:
            continue  # said on its own page
    return found


def _request(space: Workspace, model: ModelChoice, data: DataChoice) -> None:
    try:
        folder = space.request_analysis(model, data)
        space.ensure_supervisor()
    except (JobsError, OSError) as error:
        failure("This can't be analysed", error)
        return
    st.switch_page(page("analysis"), query_params={"analysis": folder.id})


def unfinished(space: Workspace) -> set[str]:
    """Show the analyses that are not done, with their progress; the names of those that wait or are at work. The page
    is drawn anew when one of them is over."""
    at_work, over = [], []
    for folder in space.analyses():
        try:
            state = folder.state()
        except JobsError as error:
            failure("The state of an analysis can't be read", error)
            continue
        if state in ("queued", "running"):
            at_work.append(folder)
        elif state == "failed" and not folder.answered():
            over.append(folder)
    if at_work:
        try:
            space.ensure_supervisor()
        except (JobsError, OSError) as error:
            failure("The supervisor can't be started", error)
        st.fragment(_progress, run_every=SECONDS)(space, at_work)
    for folder in over:
        with st.container(
            horizontal=True, gap="small", vertical_alignment="center", key=f"analysis-failed-{folder.id}"
        ):
            st.error(sentence_markdown(folder.error() or "It ended without a word."), title=_title(folder))
            st.button(
                "Remove", icon=":material/delete:", key=f"analysis-remove-{folder.id}",
                on_click=partial(remove, space, folder.id),
            )  # fmt: skip
    return {folder.id for folder in at_work}


def _progress(space: Workspace, at_work: list[AnalysisFolder]) -> None:
    for folder in at_work:
        try:
            if not folder.at_work():
                st.rerun(scope="app")
            progress = folder.progress()
        except JobsError:
            progress = AnalysisProgress()  # it is written anew within a second
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"analysis-work-{folder.id}"):
            st.progress(min(max(progress.fraction, 0.0), 1.0), text=f"{_title(folder)} · {progress_words(progress)}")
            if folder.cancelled():
                st.button("Cancelling …", disabled=True, key=f"analysis-cancel-{folder.id}")
            else:
                st.button(
                    "Cancel", icon=":material/close:", key=f"analysis-cancel-{folder.id}",
                    on_click=partial(_cancel, space, folder),
                )  # fmt: skip


def progress_words(progress: AnalysisProgress) -> str:
    """``Predicting · 120 of 400 structures · about 8 s left``."""
    words = [PHASES[progress.phase]]
    if progress.total and progress.done is not None:
        if progress.phase == "reading":
            words.append(f"{file_size(round(progress.done))} of {file_size(round(progress.total))}")
        elif progress.phase == "predicting":
            words.append(f"{round(progress.done)} of {count(round(progress.total), 'structure')}")
    if progress.eta_seconds is not None:
        words.append(f"about {duration(progress.eta_seconds)} left")
    return " · ".join(words)


def _title(folder: AnalysisFolder) -> str:
    try:
        return markdown(folder.title)
    except JobsError:
        return markdown(folder.id)


def _cancel(space: Workspace, folder: AnalysisFolder) -> None:
    try:
        space.cancel_analysis(folder)
    except (JobsError, OSError) as error:
        st.toast(sentence_markdown(str(error)), icon=":material/error:")


def remove(space: Workspace, identifier: str) -> None:
    try:
        space.delete_analysis(identifier)
    except JobsError as error:
        st.toast(sentence_markdown(str(error)), icon=":material/error:")
