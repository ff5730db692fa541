"""What stands around the steps of the Train page: step bar, presets, YAML, problems, next and back."""

from typing import BinaryIO

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.options import Problem, RunOptions, dump_options, option_fields
from mace_app.options.model import ModelHypers
from mace_app.options.run import Architecture
from mace_app.options.training import TrainingHypers
from mace_app.ui import presets, starting_point
from mace_app.ui.draft import DATA_KEYS, MODEL, TRAINING, Draft, Loc
from mace_app.ui.forms import Form, Part
from mace_app.ui.server.upload_store import UploadRefused, discard, open_upload
from mace_app.ui.text import sentence_html
from mace_app.ui.train_start import start_block
from mace_app.ui.wizard import STEPS, changed, load_text, step_of, yaml_name

SIMPLE, ADVANCED = "Simple", "Advanced"
LINES_SHOWN = 26
LARGEST_YAML = 1 << 20
_REFUSED = "train-yaml-problems"
_ROUND = "train-yaml-round"
_TEXT = "train-yaml-text"


def current_step() -> str:
    """The step in the address, so that a step can be linked to and survives a reload."""
    named = str(st.query_params.get("step", "")).capitalize()
    return named if named in STEPS else STEPS[0]


def go_to(step: str) -> None:
    st.query_params["step"] = step.lower()


def step_bar(now: str, problems: dict[str, list[Problem]], begun: bool) -> None:
    """One button a step; a mark on those with something to correct, once anything has been chosen."""
    with st.container(horizontal=True, gap="small", key="train-steps"):
        for number, step in enumerate(STEPS, start=1):
            wrong = begun and bool(problems.get(step))
            st.button(
                f"{number} · {step}",
                key=f"train-step-{step.lower()}",
                type="primary" if step == now else "secondary",
                icon=":material/error:" if wrong else None,
                on_click=go_to,
                args=(step,),
            )


def back_and_next(now: str) -> None:
    place = STEPS.index(now)
    with st.container(horizontal=True, horizontal_alignment="distribute" if place > 0 else "right"):
        if place > 0:
            st.button("Back", key="train-back", icon=":material/arrow_back:", on_click=go_to, args=(STEPS[place - 1],))
        if place < len(STEPS) - 1:
            step = STEPS[place + 1]
            st.button(
                f"Next: {step.lower()}",
                key="train-next",
                type="primary",
                icon=":material/arrow_forward:",
                icon_position="right",
                on_click=go_to,
                args=(step,),
            )


def toolbar(draft: Draft) -> bool:
    """Simple or advanced, load, save, start over; True when advanced."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="train-toolbar"):
        level = st.segmented_control(
            "Options shown",
            [SIMPLE, ADVANCED],
            default=SIMPLE,
            required=True,
            key="train-level",
            persist_state="session",
            label_visibility="collapsed",
        )
        with st.popover("Load YAML", icon=":material/upload_file:", key="train-load"):
            _load(draft)
        st.download_button(
            "Save YAML",
            data=complete_text(draft),
            file_name=yaml_name(draft),
            mime="application/yaml",
            icon=":material/download:",
            key="train-save",
            on_click="ignore",
        )
        with st.popover("Start over", icon=":material/restart_alt:", key="train-reset"):
            st.markdown("Every choice on this page returns to its default. Datasets and runs stay.")
            st.button("Clear all choices", key="train-clear", type="primary", on_click=_clear, args=(draft,))
    _refusal()
    return level == ADVANCED


def _clear(draft: Draft) -> None:
    draft.values, draft.name = {}, ""
    changed(draft)


def _load(draft: Draft) -> None:
    # A new key empties the uploader after a file was taken.
    key = f"train-yaml-file-{st.session_state.get(_ROUND, 0)}"
    st.file_uploader("Options file", type=["yaml", "yml"], key=key)
    st.text_area("or its text", key=_TEXT, height=180, placeholder="architecture:\n  model:\n    r_max: 5.0")

    def load() -> None:
        # What the button's own message brought: the file may have come after the page was drawn.
        upload = st.session_state.get(key)
        if upload is None and not str(st.session_state[_TEXT]).strip():
            words = "Nothing was loaded. Choose a file, wait until it is uploaded, or paste its text."
            st.session_state[_REFUSED] = [Problem((), words)]
            return
        try:
            text = _text_of(upload) if upload is not None else str(st.session_state[_TEXT])
        except JobsError as error:
            st.session_state[_REFUSED] = [Problem((), str(error))]
            return
        except UnicodeDecodeError:
            st.session_state[_REFUSED] = [Problem((), "The file is no text; choose an options file in YAML.")]
            return
        refused = load_text(draft, text)
        st.session_state[_REFUSED] = refused
        if not refused:
            if upload is not None:
                discard(upload)
            st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
            st.toast("Options loaded", icon=":material/check:")

    st.button("Load", key="train-yaml-load", type="primary", on_click=load)


def _text_of(upload: BinaryIO) -> str:
    with open_upload(upload) as stream:
        content = stream.read(LARGEST_YAML + 1)
    if len(content) > LARGEST_YAML:
        raise UploadRefused(f"The file is larger than {LARGEST_YAML >> 20} MB; choose an options file in YAML.")
    return content.decode("utf-8")


def _refusal() -> None:
    problems: list[Problem] = st.session_state.get(_REFUSED) or []
    if not problems:
        return
    with st.container(border=True, key="train-yaml-refused"):
        st.markdown("**The YAML was not loaded; your choices are as they were.**")
        problem_list(problems)
        st.button("Close", key="train-yaml-close", on_click=lambda: st.session_state.pop(_REFUSED, None))


def complete_text(draft: Draft) -> str:
    """YAML with every default written out if the draft is valid, otherwise what is set."""
    options, _ = draft.check()
    return dump_options(options) if options is not None else draft.text()


def yaml_panel(draft: Draft) -> None:
    """The live YAML of the draft."""
    with st.container(border=True, key="train-yaml"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("**YAML**", help="The same as an options file for `python -m mace_app train options.yaml`.")
            extent = st.segmented_control(
                "How much YAML",
                ["your choices", "complete"],
                default="your choices",
                required=True,
                key="train-yaml-extent",
                label_visibility="collapsed",
            )
        text = complete_text(draft) if extent == "complete" else draft.text()
        long = text.count("\n") > LINES_SHOWN
        st.code(
            text if draft.values else "# everything is at its default",
            language="yaml",
            height=560 if long else "content",
        )


def preset_cards(form: Form) -> None:
    draft = form.draft
    now, offered = presets.current(draft), presets.offered(draft)
    with st.container(key="train-presets"):
        for place, preset in zip(st.columns(len(offered), gap="small"), offered, strict=True):
            with place, st.container(border=True, height="stretch", gap="small"):
                st.markdown(f"**{preset.name}**" + (" :blue-badge[in use]" if preset is now else ""))
                st.caption(preset.summary)
                st.space("stretch")
                st.button(
                    "Use",
                    key=f"train-preset-{preset.name.split()[0].lower()}",
                    help=f"Use the preset {preset.name}",
                    disabled=preset is now,
                    on_click=_use_preset,
                    args=(preset, form),
                )


def _use_preset(preset: presets.Preset, form: Form) -> None:
    main = starting_point.main_energy(form.draft)
    goes_on = starting_point.file_of(form.draft) is not None and main in form.targets
    presets.apply(preset, form.draft, main if goes_on else None)
    changed(form.draft)


def model_step(form: Form, space: Workspace) -> None:
    """Where the training starts, presets, and the options of the model that have an effect."""
    start_block(form, space, form.elements)
    if not form.advanced:
        st.header("Start from a preset", anchor=False)
        preset_cards(form)
    moot = _moot(form, MODEL, starting_point.moot_model_options(form.draft, form.targets))
    # Where the heads of the file are known, one is chosen beside the file.
    elsewhere = ("mace_model", *(("mace_head_name",) if form.heads else ()))
    part = Part(ModelHypers, MODEL, leave_out=(*elsewhere, *moot))
    if not form.advanced and form.shows(part):
        st.header("Or choose yourself", anchor=False)
    form.sections(part)


def training_step(form: Form) -> None:
    file = starting_point.file_of(form.draft) is not None
    always = ("num_epochs", *(("atomic_baseline", "freeze") if file else ()))
    moot = _moot(form, TRAINING, starting_point.moot_training_options(form.draft, form.targets))
    elements = _moot(form, ("architecture",), ["atomic_types"] if file else [])
    form.sections(
        Part(TrainingHypers, TRAINING, always=always, leave_out=moot),
        Part(RunOptions, (), leave_out=("architecture", *DATA_KEYS)),
        Part(Architecture, ("architecture",), leave_out=("name", "model", "training", *elements)),
    )


def _moot(form: Form, place: Loc, names: list[str]) -> tuple[str, ...]:
    """Options without effect are not drawn, unless they were set: then they have to be seen to be removed."""
    return tuple(name for name in names if not form.draft.has((*place, name)))


def place_in_words(loc: Loc) -> str:
    """`Model › Cutoff radius` for a place in the options."""
    if not loc:
        return ""
    words = [step_of(Problem(loc, ""))]
    for start, model in ((MODEL, ModelHypers), (TRAINING, TrainingHypers), (("architecture",), Architecture)):
        if loc[: len(start)] == start and len(loc) > len(start):
            titles = {item.name: item.title for item in option_fields(model)}
            return " › ".join([*words, titles.get(loc[len(start)], loc[len(start)]), *loc[len(start) + 1 :]])
    titles = {item.name: item.title for item in option_fields(RunOptions)}
    return " › ".join([*words, titles.get(loc[0], loc[0]), *loc[1:]])


def problem_list(problems: list[Problem]) -> None:
    """All problems, each with its place, in red."""
    rows = []
    for problem in problems:
        place = f"<strong>{sentence_html(place_in_words(problem.loc))}:</strong> " if problem.loc else ""
        rows.append(f"<li>{place}{sentence_html(problem.message)}</li>")
    st.html(f'<ul class="problems" role="alert">{"".join(rows)}</ul>')
