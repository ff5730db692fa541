"""How an analysis comes about: what is asked, and what is at work on the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, RunFolder, Workspace
from mace_app.jobs.analysis_folder import AnalysisFolder, DataChoice, ModelChoice
from mace_app.ui.run_reader import run_glances
from mace_app.ui.state import failure, page
from mace_app.ui.text import markdown, sentence_html
from mace_app.ui.times import clock, duration

OWN = "its own training, validation and test structures"
LOOK_SECONDS = 1.0
_ERROR = "analysis-start-error"


@dataclass(frozen=True)
class _Model:
    """One entry of the models that can be asked."""

    title: str
    run: str | None = None
    foundation: str | None = None
    heads: tuple[str, ...] = ()
    last: bool = False  # whether there is a last checkpoint beside the best


def start_panel(space: Workspace, first: bool) -> None:
    """What to do for one; open as long as there is none."""
    if first:
        st.markdown(
            "An analysis sets the predictions of a model beside the labels of data: how large the errors are, of which "
            "elements and groups, and which structures are the worst, in 3D with both forces."
        )
    models = _models(space)
    if not models:
        if first:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.markdown("It needs a model: a run that has finished an epoch, or a foundation file.")
                st.page_link(page("train"), label="Train a model", icon=":material/model_training:")
                st.page_link(page("foundation"), label="Add a foundation model", icon=":material/foundation:")
        return
    with st.expander("New analysis", icon=":material/add:", expanded=first, key="analysis-new"):
        _ask(space, models)


def _models(space: Workspace) -> dict[str, _Model]:
    """By a text that no other one has: runs, the newest first, then foundation models."""
    found: dict[str, _Model] = {}
    for glance in run_glances().all(space.runs()):
        checkpoints = glance.run.path / "checkpoints"
        if glance.info is None or glance.archived or not (checkpoints / "best.safetensors").is_file():
            continue
        last = (checkpoints / "last.safetensors").is_file()
        title = f"{glance.name} · {clock(glance.info.created)}"
        found[f"run {glance.run.id}"] = _Model(title, run=glance.run.id, last=last)
    for folder in space.foundations():
        try:
            facts = folder.facts()
            if facts is not None:
                title = f"{facts.get('title') or folder.name} · foundation model"
                heads = tuple(map(str, facts["heads"]))
                found[f"foundation {folder.id}"] = _Model(title, foundation=folder.id, heads=heads)
        except JobsError:
            continue
    return found


def _ask(space: Workspace, models: Mapping[str, _Model]) -> None:
    with st.grid(3, min_column_width=230, gap="medium", key="analysis-new-fields") as grid:
        with grid.cell():
            chosen = st.selectbox(
                "Model", list(models), format_func=lambda key: models[key].title, key="analysis-new-model"
            )
        model = models[chosen]
        with grid.cell():
            which, head = "best", None
            if model.last:
                which = st.segmented_control(
                    "Weights",
                    ["best", "last"],
                    default="best",
                    required=True,
                    key="analysis-new-which",
                    help="Those of the epoch with the smallest validation errors, or the newest.",
                )
            elif len(model.heads) > 1:
                head = st.selectbox("Head", model.heads, key=f"analysis-new-head-{chosen}")
            else:
                st.empty()
        data = _datasets(space, own=model.run is not None)
        with grid.cell():
            dataset = st.selectbox(
                "Data",
                list(data),
                format_func=data.__getitem__,
                key=f"analysis-new-data-{'run' if model.run else 'foundation'}",
                placeholder="No dataset with a mapping",
            )
    if dataset is None:
        st.caption("Add a dataset on the Datasets page and confirm what its keys mean.")
    choice = ModelChoice(run=model.run, which=which, foundation=model.foundation, head=head)  # type: ignore[arg-type]
    st.button(
        "Analyse",
        type="primary",
        icon=":material/troubleshoot:",
        key="analysis-new-start",
        disabled=dataset is None,
        on_click=_request,
        args=(space, choice, DataChoice(dataset=dataset or None)),
    )
    error = st.session_state.pop(_ERROR, None)
    if error is not None:
        failure("The analysis was not started", error)


def _datasets(space: Workspace, own: bool) -> dict[str, str]:
    """Names by id; the empty id is the run's own structures."""
    found = {"": OWN[:1].upper() + OWN[1:]} if own else {}
    for folder in space.datasets():
        try:
            if folder.mapping() is not None:
                found[folder.id] = folder.name
        except JobsError:
            continue
    return found


def _request(space: Workspace, choice: ModelChoice, data: DataChoice) -> None:
    try:
        folder = space.request_analysis(choice, data)
        space.ensure_supervisor()
    except JobsError as error:
        st.session_state[_ERROR] = error
        return
    st.query_params["analysis"] = folder.id
    st.session_state.pop("analysis-named", None)


def analyse_run(space: Workspace, run: RunFolder, active: bool) -> None:
    """To the analysis of a run on its own structures: of its best weights, or, while it trains, of its newest
    validation. For the page of the run."""
    target = f"newest-{run.id}"
    if not active:
        try:
            target = space.request_analysis(ModelChoice(run=run.id)).id
            space.ensure_supervisor()
        except JobsError as error:
            failure("The analysis was not started", error)
            return
    st.switch_page(page("analysis"), query_params={"analysis": target})


def unfinished(space: Workspace) -> set[str]:
    """Show the analyses that are not done; the names of those that wait or are at work."""
    folders = [folder for folder in space.analyses() if not folder.answered()]
    at_work = {folder.id for folder in folders if folder.at_work()}
    if folders:
        st.fragment(_unfinished, run_every=LOOK_SECONDS if at_work else None)(space, folders, at_work)
    return at_work


def _unfinished(space: Workspace, folders: list[AnalysisFolder], drawn: set[str]) -> None:
    if {folder.id for folder in folders if folder.at_work()} != drawn:
        st.rerun(scope="app")
    for folder in folders:
        with st.container(border=True, gap="small", key=f"analysis-job-{folder.id}"):
            _job(space, folder, folder.id in drawn)


def _job(space: Workspace, folder: AnalysisFolder, at_work: bool) -> None:
    def act(what: Callable[[], None]) -> None:
        try:
            what()
        except JobsError as error:
            st.session_state[_ERROR] = error

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        try:
            st.markdown(f"**{markdown(folder.title)}**", width="content")
        except JobsError as error:
            st.html(f'<p class="field-error" role="alert">{sentence_html(str(error))}</p>')
        st.space("stretch")
        if at_work:
            cancel = partial(act, partial(space.cancel_analysis, folder))
            st.button("Cancel", icon=":material/cancel:", key=f"analysis-cancel-{folder.id}", on_click=cancel)
        else:
            remove = partial(act, partial(space.delete_analysis, folder.id))
            st.button("Remove", icon=":material/delete:", key=f"analysis-remove-{folder.id}", on_click=remove)
    if not at_work:
        words = folder.error() or "It was cancelled. Ask for it again to have it."
        st.html(f'<p class="field-error" role="alert">{sentence_html(words)}</p>')
        return
    try:
        progress = folder.progress()
    except JobsError:
        return  # it is written anew every second
    left = "" if progress.eta_seconds is None else f" · about {duration(progress.eta_seconds)} left"
    st.progress(min(1.0, progress.fraction), text=markdown(progress.message or "Waiting") + left)


def can_be_analysed(run: RunFolder, state: str) -> bool:
    """Whether there are weights to ask, or, while it trains, predictions to look at."""
    if state in ACTIVE_STATES:
        return run.parity_file.exists()
    return (run.path / "checkpoints" / "best.safetensors").is_file()
