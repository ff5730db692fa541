"""Parts of vectors, tensors, irreps and spectra, as the parity panels show them."""

import numpy as np
import pytest

from mace_app.jobs import ParityLabel
from mace_app.options import TargetInfo
from mace_app.ui.charts import components, is_spectrum, parity_figure, spectrum_figure, typical_row

SEVERAL = {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1, "num": 2}, {"o3_lambda": 0, "o3_sigma": 1}]}}
TARGETS = {
    target.name: target
    for target in (
        TargetInfo("energy", has_forces=True, has_stress=True),
        TargetInfo("mtt::dipole", type={"cartesian": {"rank": 1}}),
        TargetInfo("mtt::alpha", type={"cartesian": {"rank": 2}}),
        TargetInfo("mtt::quad", type={"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}}, num_subtargets=3),
        TargetInfo("mtt::several", type=SEVERAL),
        TargetInfo("mtt::few", num_subtargets=3),
        TargetInfo("mtt::dos", num_subtargets=200),
    )
}


@pytest.mark.parametrize(
    ("label", "shape", "titles"),
    [
        ("energy", (1,), "all"),
        ("energy.forces", (3,), "all x y z length"),
        ("energy.stress", (3, 3), "all xx yy zz yz xz xy zy zx yx trace norm"),
        ("mtt::dipole", (3, 1), "all x y z length"),
        ("mtt::alpha", (3, 3, 1), "all xx yy zz yz xz xy zy zx yx trace norm"),
        ("mtt::quad", (5, 3), "all,m = −2,m = −1,m = 0,m = 1,m = 2,norm"),
        ("mtt::several", (11,), "all,λ=2 σ=+1,λ=0 σ=+1"),
        ("mtt::several (λ=2 σ=+1)", (10,), "all,m = −2,m = −1,m = 0,m = 1,m = 2,norm"),
        ("mtt::several (λ=0 σ=+1)", (1,), "all"),
        ("mtt::few", (3,), "all,value 1,value 2,value 3"),
        ("mtt::dos", (200,), "all"),
        ("mtt::unknown", (7,), "all"),
    ],
)
def test_every_kind_of_label_has_its_own_parts(label: str, shape: tuple[int, ...], titles: str) -> None:
    parts = [part.title for part in components(label, shape, TARGETS)]
    assert parts == (titles.split(",") if "," in titles else titles.split())
    values = np.random.default_rng(0).normal(size=(4, *shape))
    for part in components(label, shape, TARGETS):
        assert part.select(values).shape[0] == 4 and part.select(values).ndim == 2


def test_a_part_holds_exactly_its_values() -> None:
    tensor = np.arange(18.0).reshape(1, 3, 3, 2)
    parts = {part.title: part for part in components("mtt::alpha", (3, 3, 2), TARGETS)}
    assert parts["xz"].select(tensor).tolist() == [[4.0, 5.0]]
    assert parts["trace"].select(tensor).tolist() == [[0.0 + 8 + 16, 1.0 + 9 + 17]]
    flat = np.arange(11.0).reshape(1, 11)
    parts = {part.title: part for part in components("mtt::several", (11,), TARGETS)}
    assert parts["λ=0 σ=+1"].select(flat).tolist() == [[10.0]]
    forces = ParityLabel(np.array([[3.0, 4.0, 0.0]]), np.array([[0.0, 0.0, 2.0]]), np.array([0]), np.array([5]))
    length = {part.title: part for part in components("energy.forces", (3,), TARGETS)}["length"].of(forces)
    assert (length.reference.tolist(), length.prediction.tolist()) == ([[5.0]], [[2.0]])
    assert length.atom is not None and length.atom.tolist() == [5]


def test_the_panel_says_which_part_it_shows_and_forgets_a_zoom_into_another() -> None:
    data = ParityLabel(np.zeros((3, 3)), np.ones((3, 3)), np.arange(3))
    x, y = (parity_figure("energy.forces", data, "eV/Å", part=part) for part in "xy")
    assert (
        x.checked().layout.title.text == "Forces · x" and x.checked().layout.uirevision != y.checked().layout.uirevision
    )


def test_a_spectrum_is_drawn_for_the_structure_with_the_median_error() -> None:
    reference = np.tile(np.linspace(0, 1, 20), (5, 1))
    prediction = reference + np.array([[0.5], [0.1], [0.3], [np.nan], [0.2]])
    data = ParityLabel(reference, prediction, np.arange(5))
    assert is_spectrum(data) and typical_row(data) == 4
    figure = spectrum_figure("mtt::dos", data, "1/eV", number=17)
    assert "structure 17" in figure.checked().layout.title.text
    assert [trace.name for trace in figure.checked().data] == ["Reference", "Prediction"]
    assert list(figure.checked().data[1].y) == pytest.approx(list(prediction[4]))
    nothing = ParityLabel(reference * np.nan, prediction, np.arange(5))
    assert typical_row(nothing) is None and not spectrum_figure("mtt::dos", nothing, "").checked().data
