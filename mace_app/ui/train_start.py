"""Where a training starts, at the top of the Model step: from scratch or from a foundation file, which one, what the
file brings, and what becomes of its energy."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.options import option_fields
from mace_app.options.model import FROM_FILE, ModelHypers
from mace_app.ui import presets, starting_point
from mace_app.ui.draft_data import sources
from mace_app.ui.elements import numbers, symbols
from mace_app.ui.forms import Form, forget_widgets, show_errors
from mace_app.ui.foundation_facts import ROWS_BEFORE_SCROLLING, SCROLLING_HEIGHT, energy_rows, scale_rows
from mace_app.ui.foundation_live import ACTIVE, RUNNING_SECONDS, progress_words
from mace_app.ui.periodic_table import periodic_table
from mace_app.ui.starting_checks import hints, missing_elements
from mace_app.ui.starting_files import StartingFile, find_file, read_only, starting_files
from mace_app.ui.starting_point import FILE, HEAD
from mace_app.ui.state import page
from mace_app.ui.text import code, count, markdown, number, sentence_markdown
from mace_app.ui.train_replay import replay_block

SCRATCH, FOUNDATION = "From scratch", "From a foundation model"
_FIELDS = {item.name: item for item in option_fields(ModelHypers)}
_PATH, _REFUSED = "train-start-path", "train-start-refused"
# Elements beyond these many are a table, closed at first.
FEW_ELEMENTS = 12


def start_block(form: Form, space: Workspace, data_elements: Sequence[int]) -> None:
    """The choice, and with a file all that goes with it. ``data_elements``: atomic numbers in the chosen data."""
    with st.container(border=True, gap="small", key="train-start"):
        _way(form, space)
        if starting_point.file_of(form.draft) is None:
            return
        files = starting_files(space)
        _file(form, space, files)
        file = find_file(files, starting_point.file_of(form.draft))
        if file is None:
            return
        if file.facts is None:
            _not_read(form, space, file)
        else:
            _card(form, file, file.facts, data_elements)
    if file.facts is not None:
        _energy(form)
        replay_block(form, space, file)


def changed(form: Form) -> None:
    """After a choice that changes what other fields show."""
    form.draft.save()
    forget_widgets()


def _way(form: Form, space: Workspace) -> None:
    item = _FIELDS["mace_model"]
    key = form.key(FILE, "mode")
    st.session_state.setdefault(key, SCRATCH if starting_point.file_of(form.draft) is None else FOUNDATION)

    def switch() -> None:
        way, now = st.session_state.get(key), starting_point.file_of(form.draft)
        # A widget that was just forgotten may report a last time what it showed, although nobody chose it.
        if way is None or (way == SCRATCH) == (now is None):
            return
        presets.leave(form.draft)
        if way == SCRATCH:
            starting_point.from_scratch(form.draft, sources(space, form.draft)[0])
        else:
            known = [file for file in starting_files(space) if file.facts is not None]
            only = known[0] if len(known) == 1 else None
            starting_point.start_from(form.draft, only.path if only else "", only.heads if only else None)
        changed(form)

    st.segmented_control(
        f"{form.label(item, FILE)}: where to start",
        [SCRATCH, FOUNDATION],
        key=key,
        required=True,
        help=form.help(item),
        on_change=switch,
    )
    if st.session_state[key] == SCRATCH:
        st.caption(
            "Random weights: everything is learnt from your data. A foundation model has seen much chemistry already "
            "and needs far fewer structures."
        )


# Which file


def _file(form: Form, space: Workspace, files: Sequence[StartingFile]) -> None:
    path = starting_point.file_of(form.draft) or ""
    chosen = find_file(files, path)
    by_path = {file.path: file for file in files}
    if chosen is not None:
        by_path.setdefault(chosen.path, chosen)
    key = form.key(FILE, "file")
    if key not in st.session_state:
        st.session_state[key] = chosen.path if chosen is not None else None

    def choose() -> None:
        # A widget that was just forgotten may report a last time what it showed, although nobody chose it.
        new = st.session_state.get(key)
        if new in by_path and new != path:
            starting_point.start_from(form.draft, new, by_path[new].heads or None)
            changed(form)

    if by_path:
        st.selectbox(
            "Foundation file",
            list(by_path),
            key=key,
            format_func=lambda path: described(by_path[path]),
            placeholder="Choose a file",
            help=form.help(_FIELDS["mace_model"]),
            on_change=choose,
        )
    if path:
        show_errors(form.messages(FILE))
    else:
        st.caption("Nothing can be trained before a file is chosen.")
    with st.expander("Another file", icon=":material/add:", key="train-start-other", expanded=not by_path):
        with st.form("train-start-form", border=False):
            st.text_input(
                "Path of a `.model` file on this machine",
                key=_PATH,
                placeholder="/home/me/mace-mpa-0-medium.model",
                help="It is read where it is, not copied, and nothing in it is executed.",
            )
            st.form_submit_button("Start from this file", key="train-start-add", on_click=_add, args=(form, space))
        show_errors(st.session_state.pop(_REFUSED, []))
        st.page_link(page("foundation"), label="Upload a file, or get a published model", icon=":material/foundation:")


def described(file: StartingFile) -> str:
    """``MACE-MP-0 small · 89 elements · 3.8 million parameters``."""
    if file.facts is None:
        return f"{file.title} · not read yet"
    elements = numbers(file.facts["elements"])
    few = symbols(elements) if len(elements) <= 6 else count(len(elements), "element")
    return f"{file.title} · {few} · {count(file.facts['parameters'], 'parameter')}"


def _add(form: Form, space: Workspace) -> None:
    path = str(st.session_state.get(_PATH) or "").strip()
    if not path:
        st.session_state[_REFUSED] = ["Enter the path of a file, for example `/home/me/foundation.model`."]
        return
    _take(form, space, path)


def _take(form: Form, space: Workspace, path: str) -> None:
    """Start from the file at ``path``, which the workspace reads if it has not done so yet."""
    known = find_file(starting_files(space), path)
    try:
        file = known if known is not None and known.folder is not None else read_only(space, path)
    except (JobsError, OSError) as error:
        st.session_state[_REFUSED] = [str(error)]
        return
    st.session_state[_PATH] = ""
    starting_point.start_from(form.draft, file.path, file.heads or None)
    changed(form)


def _not_read(form: Form, space: Workspace, file: StartingFile) -> None:
    """Progress while the file is being read; otherwise a way to have it read."""
    state = file.folder.state() if file.folder is not None else "new"
    if file.folder is not None and state in ACTIVE:
        st.fragment(_progress, run_every=RUNNING_SECONDS)(file)
        return
    if file.folder is not None and state == "failed":
        show_errors([file.folder.error() or "The file could not be read."])
    else:
        st.caption("This file has not been read yet, so what it brings is not known here.")

    def read() -> None:
        try:
            if file.folder is None:
                read_only(space, file.path)
            else:
                file.folder.request_export(heads=[])
                space.start_foundation(file.folder)
                space.ensure_supervisor()
        except (JobsError, OSError) as error:
            st.session_state[_REFUSED] = [str(error)]

    st.button("Read the file", key="train-start-read", icon=":material/search:", on_click=read)


def _progress(file: StartingFile) -> None:
    """Until the job is over; then the whole page is drawn with the facts."""
    assert file.folder is not None
    try:
        if file.folder.facts() is not None or file.folder.state() not in ACTIVE:
            st.rerun(scope="app")
        progress = file.folder.progress()
        st.progress(min(max(progress.fraction, 0.0), 1.0), text=progress_words(progress))
    except JobsError as error:
        show_errors([str(error)])


# What the file brings


def _card(form: Form, file: StartingFile, facts: Mapping[str, Any], data_elements: Sequence[int]) -> None:
    architecture = facts["architecture"]
    layers, cutoff = int(architecture["num_interactions"]), float(architecture["r_max"])
    elements = numbers(facts["elements"])
    listed = symbols(elements) if len(elements) <= FEW_ELEMENTS else count(len(elements), "element")
    scales = list(dict.fromkeys(f"{scale:.4g}" for scale in facts["scale"]))
    rows = [
        ("Elements", markdown(listed)),
        ("Cutoff", f"{number(cutoff)} Å, {count(layers, 'layer')} reach {number(layers * cutoff)} Å"),
        ("Features", code(architecture["hidden_irreps"])),
        ("Size", f"{count(facts['parameters'], 'parameter')}, {str(facts['dtype']).removeprefix('float')} bit"),
        (count(len(facts["heads"]), "head"), ", ".join(code(head) for head in facts["heads"])),
        ("Scale", f"{', '.join(scales)} eV" if len(scales) <= 3 else "one for each head"),
        ("Licence", markdown(file.licence or "not known from the file's name")),
    ]
    with st.grid(4, min_column_width=170, gap="small", key="train-start-facts") as grid:
        for title, text in rows:
            with grid.cell(), st.container(gap=None):
                st.caption(markdown(title))
                st.markdown(text)
    missing = missing_elements(facts, data_elements)
    if missing:
        show_errors([f"Your data contain {symbols(missing)}, which this file does not know; see the step of the data."])
    for hint in hints(form.draft, facts):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(sentence_markdown(hint), width="content")
            st.button("Use 32 bit", key="train-start-32", type="tertiary", on_click=_use_32_bit, args=(form,))
    if len(facts["heads"]) > 1 or form.draft.has(HEAD):
        form.field(_FIELDS["mace_head_name"], HEAD)
    with st.expander("Energies of single atoms in the file", icon=":material/tune:", key="train-start-energies"):
        st.caption("Energy of an atom = scale × network + shift + atomic energy.")
        st.table(scale_rows(facts), border="horizontal", hide_index=True, alt="Scale and shift of each head")
        energies = energy_rows(facts)
        st.table(
            energies,
            border="horizontal",
            hide_index=True,
            alt="Atomic energies of each head in eV",
            height=SCROLLING_HEIGHT if len(energies) > ROWS_BEFORE_SCROLLING else "content",
        )
        if len(elements) > FEW_ELEMENTS:
            periodic_table(elements)
    st.caption(sentence_markdown(from_the_file()))


def from_the_file() -> str:
    """One line: the options that the file decides."""
    titles = [_FIELDS[name].title.lower() for name in ("r_max", "hidden_irreps", "num_interactions", "correlation")]
    others = len([name for name in FROM_FILE if _FIELDS[name].not_built is None]) - len(titles)
    return (
        f"The file decides {', '.join(titles)} and {others} more options of the architecture, and the elements; these "
        "options are not shown."
    )


def _use_32_bit(form: Form) -> None:
    form.draft.set(("base_precision",), 32)
    changed(form)


# The energy


def _energy(form: Form) -> None:
    with st.container(border=True, gap="small", key="train-energy"):
        st.markdown("**What becomes of the energy**")
        if not form.targets:
            st.caption("That depends on your targets; choose data first.")
            return
        fate = starting_point.fate_of_energy(form.draft, form.targets)
        if fate.kind == "left out":
            st.warning(sentence_markdown(fate.sentence), icon=":material/warning:")
        else:
            st.markdown(sentence_markdown(fate.sentence))
        if fate.choices:
            with st.container(horizontal=True, gap="small"):
                for choice in fate.choices:
                    st.button(
                        sentence_markdown(choice.label),
                        key=f"train-energy-{choice.name}",
                        on_click=_choose,
                        args=(form, choice),
                    )
        if fate.kind in ("trained", "readouts only"):
            st.caption(_baseline_words(form))


def _choose(form: Form, choice: starting_point.Choice) -> None:
    choice.make(form.draft)
    changed(form)


def _baseline_words(form: Form) -> str:
    main = starting_point.main_energy(form.draft)
    entry = form.draft.get((*starting_point.BASELINE, main), "foundation")
    words = {
        "foundation": "those of the file",
        "estimated": "estimated from your data",
        "isolated_atoms": "isolated atoms in your data",
    }
    given = words.get(entry, "numbers of your own") if isinstance(entry, str) else "numbers of your own"
    return f"Energies of single atoms: {given}. They are chosen on the step of the training."
