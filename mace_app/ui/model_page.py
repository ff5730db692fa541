"""The Models page: every exported model with what a person must know before using it."""

from dataclasses import replace

import streamlit as st

from mace_app.jobs import JobsError, RunFolder, RunInfo, Workspace
from mace_app.options import OptionsError, TargetInfo
from mace_app.ui.ase_code import ase_code
from mace_app.ui.charts import readable
from mace_app.ui.download_list import download_list
from mace_app.ui.elements import symbols
from mace_app.ui.model_facts import ModelFacts, model_facts
from mace_app.ui.origin import origin_words
from mace_app.ui.report_tables import check_table, error_table
from mace_app.ui.routes import download_name
from mace_app.ui.state import failure, page
from mace_app.ui.text import code, count, markdown, number
from mace_app.ui.times import clock

PER_PAGE = 8


def models_page(space: Workspace) -> None:
    """The model of the run that the address names, or all of them, newest first."""
    identifier = st.query_params.get("run")
    st.title("Models", anchor=False)
    runs = [run for run in space.runs() if run.model_file.is_file()]
    if identifier is not None:
        if st.button("All models", icon=":material/arrow_back:", type="tertiary"):
            st.query_params.pop("run", None)
            st.rerun()
        runs = [run for run in runs if run.id == identifier]
        if not runs:
            st.warning(
                f"There is no exported model of the run {code(identifier)}. It may have been deleted, or has not been "
                "exported yet."
            )
            return
    if not runs:
        st.markdown("No model has been exported yet. Every training that ends, or is stopped, leaves one here.")
        with st.container(horizontal=True):
            st.page_link(page("train"), label="Train a model", icon=":material/model_training:")
            st.page_link(page("runs"), label="Look at the runs", icon=":material/monitoring:")
        return
    shown = int(st.session_state.get("models_shown", PER_PAGE))
    for place, run in enumerate(runs[:shown]):
        _card(run, opened=len(runs) == 1, key=f"model-{place}")
    if len(runs) > shown and st.button(f"Show more ({len(runs) - shown})", icon=":material/expand_more:"):
        st.session_state["models_shown"] = shown + PER_PAGE
        st.rerun()


def _card(run: RunFolder, opened: bool, key: str) -> None:
    try:
        info = run.info()
    except JobsError as error:
        failure(f"The model of {run.id} can't be shown", error)
        return
    facts = model_facts(run)
    with st.container(border=True, key=key):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.header(markdown(info.name), anchor=False, width="content")
            st.space("stretch")
            st.page_link(page("runs"), label="Open the run", icon=":material/monitoring:", query_params={"run": run.id})
        _facts(run, info, facts)
        downloads = run.downloads()
        titles = {"model.pt": "Download the model", "model.model": "for mace-torch"}
        model = [replace(item, title=titles[item.name]) for item in downloads if item.name in titles]
        download_list(run, model, f"{key}-file", f"Exported model of {info.name}", primary="model.pt")
        details = st.expander("Errors, checks, code, files", expanded=opened, key=f"{key}-more", on_change="rerun")
        with details:
            if not details.open:
                return
            _report(run)
            st.markdown("**Run it in ASE**")
            st.markdown(
                "Save a structure as `structure.xyz` beside the downloaded file. All that is needed is "
                "`pip install metatomic-ase`."
            )
            st.code(ase_code(download_name(run, "model.pt"), facts.targets), language="python")
            st.markdown("**Files of the run**")
            download_list(
                run, [item for item in downloads if item.name not in titles], f"{key}-files", "Files of the run"
            )


def _facts(run: RunFolder, info: RunInfo, facts: ModelFacts) -> None:
    rows = [("Elements", markdown(symbols(facts.elements)) if facts.elements else "not recorded")]
    rows.append(("Predicts", "  \n".join(_target(target) for target in facts.targets) or "not recorded"))
    if facts.cutoff is not None:
        unit = facts.length_unit
        reach = f", {facts.layers} layers reach {number(facts.cutoff * facts.layers)} {unit}" if facts.layers else ""
        rows.append(("Cutoff", f"{number(facts.cutoff)} {unit}{reach}"))
    size = [count(info.parameters, "parameter")] if info.parameters else []
    size += [code(facts.irreps)] if facts.irreps else []
    size += [f"{facts.precision}\u00a0bit"] if facts.precision else []
    rows.append(("Size", " · ".join(size) or "not recorded"))
    rows.append(("Trained on", _data(info)))
    best = f", best epoch {info.best_epoch}" if info.best_epoch is not None else ""
    origin = _origin(run)
    if origin:
        rows.append(("Fine-tuned", origin))
    rows.append(("Made", f"{clock(info.ended or info.created)}{best}"))
    with st.grid(3, min_column_width=230, gap="small") as grid:
        for title, text in rows:
            with grid.cell(), st.container(gap=None):
                st.caption(title)
                st.markdown(text)


def _origin(run: RunFolder) -> str:
    try:
        return origin_words(run)
    except (JobsError, OptionsError):
        return ""  # the run's own page says what is wrong with it


def _target(target: TargetInfo) -> str:
    extra = [word for word, there in (("forces", target.has_forces), ("stress", target.has_stress)) if there]
    unit = f" in {markdown(readable(target.unit))}" if target.unit else ""
    per_atom = " of each atom" if target.sample_kind == "atom" else ""
    kind = {"cartesian": ["", ", a vector", ", a tensor"][min(target.rank, 2)], "spherical": ", spherical"}
    values = f", {count(target.num_subtargets, 'value')}" if target.num_subtargets > 1 else ""
    return f"{code(target.name)}{unit}{kind.get(target.kind, '')}{values}{per_atom}" + (
        f", with {' and '.join(extra)}" if extra else ""
    )


def _data(info: RunInfo) -> str:
    parts = []
    for entry in info.data:
        name = str(entry.get("path", "")).replace("\\", "/").rpartition("/")[2]
        structures = entry.get("structures")
        parts.append(code(name) + (f" ({count(structures, 'structure')})" if isinstance(structures, int) else ""))
    return "  \n".join(parts) or "not recorded"


def _report(run: RunFolder) -> None:
    try:
        report = run.report()
    except JobsError as error:
        failure("The report can't be read", error)
        return
    if report is None:
        st.caption("This run has no report: it ended before evaluation.")
        return
    st.markdown("**Errors**")
    error_table(report)
    st.markdown("**Checks**")
    st.caption(
        "The exported file was loaded in a fresh process, without this program, and compared with the trained model."
    )
    check_table(report)
