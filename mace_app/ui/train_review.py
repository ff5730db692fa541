"""The last step of the Train page: what will be trained, what is in the way, and the button."""

import math

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.jobs.names import slug
from mace_app.options import (
    Change,
    OptionsError,
    Problem,
    RunOptions,
    TargetInfo,
    resolve_loss,
    simple_changes,
    with_absolute_paths,
)
from mace_app.options.base import shown
from mace_app.options.packages import is_here
from mace_app.ui.charts import readable
from mace_app.ui.data_summary import SplitSizes, split_problems, split_sizes
from mace_app.ui.draft import Draft
from mace_app.ui.draft_data import entries, read_from, sources
from mace_app.ui.elements import symbols
from mace_app.ui.metatrain_panel import metatrain_panel
from mace_app.ui.model_facts import LENGTH_WORDS
from mace_app.ui.slurm_panel import slurm_panel
from mace_app.ui.starting_files import StartingFile
from mace_app.ui.starting_point import fate_of_energy
from mace_app.ui.state import failure, page
from mace_app.ui.text import code, count, markdown, sentence_markdown
from mace_app.ui.train_page import go_to, place_in_words, problem_list
from mace_app.ui.wizard import STEPS, problems_by_step, start

# What will compute the layers, by `kernels`; the log of the run says what does.
KERNELS = {
    "auto": "computed by the fast core",
    "fast": "computed by the fast core",
    "reference": "computed by mace-torch's own modules",
    "cueq": "computed by cuEquivariance",
}


def review_step(
    draft: Draft,
    space: Workspace,
    options: RunOptions | None,
    problems: list[Problem],
    file: StartingFile | None = None,
) -> None:
    """``file`` is the foundation file that the training starts from."""
    sizes = split_sizes(space, options) if options is not None else None
    if options is not None:
        problems = [
            *problems,
            *space.file_problems(options),
            *(split_problems(options, sizes) if sizes is not None else []),
        ]
    if options is not None:
        _summary(draft, options, sizes, file)
    if problems:
        _in_the_way(problems)
    if options is not None:
        name = draft.name or _likely_name(space, draft)
        metatrain_panel(options, slug(name, "options"), "train-metatrain")
        slurm_panel(options, slug(name, "training"), "train-slurm")
    _launch(draft, space, options, bool(problems))


def _in_the_way(problems: list[Problem]) -> None:
    with st.container(border=True, key="train-problems"):
        st.header(count(len(problems), "thing to correct", "things to correct"), anchor=False)
        for step, found in problems_by_step(problems).items():
            if found:
                problem_list(found)
                st.button(
                    f"Go to {step.lower()}",
                    key=f"train-correct-{step.lower()}",
                    icon=":material/arrow_back:",
                    disabled=step not in STEPS,
                    on_click=go_to,
                    args=(step,),
                )


def _summary(draft: Draft, options: RunOptions, sizes: SplitSizes | None, file: StartingFile | None) -> None:
    training = options.architecture.training
    left, middle, right = st.columns(3, gap="small")
    with left, st.container(border=True, height="stretch", gap="small"):
        st.markdown("**Data**")
        if sizes is None:
            st.caption("The split sizes show here once the data have been inspected.")
        else:
            st.markdown(
                f"{count(sizes.training, 'structure')} to learn from  \n"
                f"{count(sizes.validation, 'structure')} to validate  \n"
                f"{count(sizes.test, 'structure')} to test"
            )
            if sizes.isolated:
                st.caption(f"and {count(sizes.isolated, 'isolated atom')} for the baseline")
            st.markdown(f"Elements: {symbols(sizes.elements)}")
    with middle, st.container(border=True, height="stretch", gap="small"):
        if file is None:
            st.markdown("**Model**")
            _model(options)
        else:
            st.markdown("**Fine-tuned**")
            _fine_tuned(draft, options, file)
    with right, st.container(border=True, height="stretch", gap="small"):
        st.markdown("**Training**")
        lines = [f"{count(training.num_epochs, 'epoch')} in batches of {training.batch_size}"]
        if sizes is not None and sizes.training > 0:
            steps = math.ceil(sizes.training / training.batch_size) * training.num_epochs
            lines.append(count(steps, "step"))
        lines.append(f"{options.base_precision} bit on {markdown(options.device)}")
        st.markdown("  \n".join(lines))
    st.header("Targets", anchor=False)
    st.table(_target_rows(options), alt="Targets and their losses")
    unitless = [
        code(name) for name, info in options.targets().items() if not info.unit and not name.startswith("mtt::")
    ]
    if unitless:
        st.warning(
            f"Without a unit nothing is exported for {', '.join(unitless)}: give it one on the step of the targets.",
            icon=":material/straighten:",
        )
    if options.architecture.model.kernels == "cueq" and not is_here("cuequivariance_torch"):
        st.warning(
            "The package cuequivariance-torch is not installed here, and `kernels: cueq` needs it. Choose `auto`, or "
            "install it: `pip install cuequivariance-torch`.",
            icon=":material/memory:",
        )
    changes = [change for change in simple_changes(options) if not change.loc[0].endswith("_set")]
    if changes:
        with st.expander(f"{count(len(changes), 'option')} away from the default", icon=":material/tune:"):
            st.table([_change_row(change) for change in changes], alt="Options that differ from their defaults")


def _model(options: RunOptions) -> None:
    model = options.architecture.model
    length = LENGTH_WORDS[options.training_set[0].systems.length_unit]
    st.markdown(
        f"{code(model.hidden_irreps)}  \n"
        f"{count(model.num_interactions, 'layer')}, cutoff {model.r_max:g} {length}  \n"
        f"correlation {model.correlation}, edges up to l = {model.max_ell}  \n"
        f"{KERNELS[model.kernels]}"
    )


def _fine_tuned(draft: Draft, options: RunOptions, file: StartingFile) -> None:
    """From which file, under which licence, and what is trained of it."""
    lines = [f"from {markdown(file.title)}", f"licence: {markdown(file.licence or 'not known')}"]
    if file.facts is not None:
        layers, cutoff = file.facts["architecture"]["num_interactions"], file.facts["architecture"]["r_max"]
        lines.append(f"{count(layers, 'layer')}, cutoff {cutoff:g} Å, {count(file.facts['parameters'], 'parameter')}")
    lines.append(KERNELS[options.architecture.model.kernels])
    st.markdown("  \n".join(lines))
    st.caption(sentence_markdown(fate_of_energy(draft, options.targets()).sentence))


def _target_rows(options: RunOptions) -> list[dict[str, str]]:
    targets = {name: _all_parts(info) for name, info in options.targets().items()}
    try:
        terms = resolve_loss(options.architecture.training, targets)
    except OptionsError:
        return []
    return [
        {
            "Label": code(label),
            "Unit": _unit(targets, label, LENGTH_WORDS[options.training_set[0].systems.length_unit]),
            "Loss": term.type,
            "Weight": f"{term.weight:g}",
        }
        for label, term in terms.items()
    ]


def _all_parts(info: TargetInfo) -> TargetInfo:
    return info.resolve(has_forces=info.has_forces is not False, has_stress=info.has_stress is not False)


def _unit(targets: dict[str, TargetInfo], label: str, length: str) -> str:
    name, _, part = label.rpartition(".")
    info = targets.get(label) or targets.get(name)
    if info is None or not info.unit:
        return "not given"
    return markdown(readable(info.unit)) + {"forces": f"/{length}", "stress": f"/{length}³"}.get(
        part if label not in targets else "", ""
    )


def _change_row(change: Change) -> dict[str, str]:
    default = "" if change.default is None else code(shown(change.default))
    return {"Option": markdown(place_in_words(change.loc)), "Value": code(shown(change.value)), "Default": default}


def _likely_name(space: Workspace, draft: Draft) -> str:
    """The name of the first data set that is learnt from."""
    chosen = entries(draft, "training_set")
    ready, _ = sources(space, draft)
    return next(
        (source.label for source in ready if source.folder and chosen and source.path == read_from(chosen[0])), ""
    )


def _launch(draft: Draft, space: Workspace, options: RunOptions | None, blocked: bool) -> None:
    if "option-run-name" not in st.session_state:
        st.session_state["option-run-name"] = draft.name or _likely_name(space, draft)

    def rename() -> None:
        draft.name = st.session_state["option-run-name"]
        draft.save()

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Name of the run",
            key="option-run-name",
            max_chars=100,
            placeholder="Run",
            on_change=rename,
            width=420,
        )
        pressed = st.button(
            "Start training",
            key="train-start",
            type="primary",
            icon=":material/play_arrow:",
            disabled=blocked or options is None,
        )
    if pressed and options is not None:
        try:
            run = start(space, with_absolute_paths(options), st.session_state["option-run-name"])
        except (JobsError, OptionsError) as error:
            failure("The run could not be started", error)
            return
        st.switch_page(page("runs"), query_params={"run": run})
