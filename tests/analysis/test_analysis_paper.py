import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from analysis_samples import made_up
from PIL import Image

from mace_app.analysis.errors import Look, Pairs, pairs
from mace_app.analysis.paper import KINDS, Print, fonts, paper_figure

SMALL = pairs(made_up(60), Look("energy.forces"))
HOW = Print(width=90, height=60, font_size=7, title="A $title$ of <mine>")


@pytest.mark.parametrize("kind", KINDS)
def test_an_svg_has_the_asked_size_and_its_text_as_text(kind: str) -> None:
    root = ElementTree.fromstring(paper_figure(kind, SMALL, "eV/Å", "forces", HOW, "svg"))
    points = {name: float(re.sub("pt", "", root.attrib[name])) for name in ("width", "height")}
    assert points == pytest.approx({"width": 90 / 25.4 * 72, "height": 60 / 25.4 * 72}, abs=0.01)
    text = " ".join("".join(element.itertext()) for element in root.iter())
    assert "eV/Å" in text and "A $title$ of <mine>" in text and "forces" in text


def test_a_png_has_the_asked_pixels_and_a_pdf_is_one() -> None:
    image = Image.open(io.BytesIO(paper_figure("parity", SMALL, "eV/Å", "forces", Print(50.8, 25.4, dots=200), "png")))
    assert image.size == (400, 200)
    assert len(np.unique(np.asarray(image.convert("L")))) > 10, "something is drawn"
    pdf = paper_figure("parity", SMALL, "eV/Å", "forces", HOW, "pdf")
    assert pdf.startswith(b"%PDF") and b"DejaVuSans" in pdf


def test_the_same_figure_is_the_same_file() -> None:
    for form in ("svg", "pdf", "png"):
        one, two = (paper_figure("histogram", SMALL, "eV", "forces", HOW, form) for _ in range(2))
        assert one == two


def test_a_million_points_are_a_small_file() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=1_000_000)
    many = Pairs(reference, reference + 0.1, np.zeros(1_000_000, int), np.zeros(1_000_000, int))
    assert len(paper_figure("parity", many, "eV/Å", "forces", HOW, "svg")) < 4_000_000


def test_what_can_not_be_drawn_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="no labels"):
        paper_figure("parity", SMALL.of(np.zeros(len(SMALL), bool)), "", "x", HOW)
    with pytest.raises(ValueError, match="no figure pie"):
        paper_figure("pie", SMALL, "", "x", HOW)
    assert "DejaVu Sans" in fonts()
