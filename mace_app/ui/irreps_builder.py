"""A popover that puts irreps together from a number of channels and the highest angular momentum."""

from collections.abc import Callable

import streamlit as st

CHANNELS = (4, 8, 16, 32, 64, 96, 128, 192, 256, 512)
SHAPES = {
    0: "scalars: blind to directions inside a feature, fastest",
    1: "scalars and vectors: the usual choice for small models; needed for dipoles",
    2: "up to quadrupoles: more accurate, two to three times slower",
    3: "up to octupoles: rarely worth its cost",
}


def build(channels: int, highest: int) -> str:
    """``build(32, 1)`` is ``32x0e + 32x1o``: features with the parity of spherical harmonics."""
    return " + ".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(highest + 1))  # noqa: E741 — the field's symbol


def popover(key: str, scalars_only: bool, use: Callable[[str], None]) -> None:
    """A button that opens the builder; ``use`` is called with the text that was built."""

    def use_these() -> None:
        """What the widgets say at the click, which may come before the page has drawn their last change."""
        highest = 0 if scalars_only else int(st.session_state[f"{key}-highest"] or 0)
        use(build(int(st.session_state[f"{key}-channels"]), highest))

    with st.popover("Build", icon=":material/build:", key=key):
        channels = st.select_slider(
            "Channels",
            CHANNELS,
            value=16 if scalars_only else 64,
            key=f"{key}-channels",
            help="How many numbers of each kind. Twice as many cost about twice the time and memory.",
        )
        highest = 0
        if not scalars_only:
            chosen = st.segmented_control(
                "Highest angular momentum",
                list(SHAPES),
                default=1,
                required=True,
                key=f"{key}-highest",
                help="Up to which l there are features: 0 scalars, 1 vectors, 2 and 3 tensors.",
            )
            highest = int(chosen or 0)
            st.caption(SHAPES[highest].capitalize() + ".")
        st.code(build(int(channels), highest), language=None)
        st.button("Use these", key=f"{key}-use", type="primary", on_click=use_these)
