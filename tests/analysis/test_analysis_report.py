import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from analysis_samples import made_up

from mace_app.analysis import Analysis, Label
from mace_app.analysis.errors import Look, pairs, statistics
from mace_app.analysis.report import html_report


class Page(HTMLParser):
    """Text and tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    found = made_up(80, groups=("warm", "cold", "cold"))
    found.labels["energy"].reference[:, 0] += 0.3 * found.structures.n_atoms * (found.structures.group == "warm")
    unknown = np.full((80, 1), np.nan)
    gap = Label("mtt::gap", "eV", False, False, unknown, 0 * unknown)
    return replace(found, labels={**found.labels, "mtt::gap": gap})


def test_it_has_the_findings_the_tables_and_a_figure_of_each_kind(analysis: Analysis) -> None:
    page = Page(html_report(analysis))
    words = " ".join(page.words)
    assert "another reference level?" in words
    assert "Errors of Made up" in words and "epoch 10" in words and "data.xyz, frame" in words
    told = statistics(pairs(analysis, Look("energy.forces")))
    assert told is not None and f"{told.rmse * 1000:.4g}" in words and "meV/Å" in words
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    assert "The data have no such labels" in words


def test_it_needs_nothing_from_elsewhere_and_runs_nothing(analysis: Analysis) -> None:
    text = html_report(analysis)
    page = Page(text)
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    assert all(
        str(attributes["src"]).startswith("data:image/svg+xml;base64,") for tag, attributes in page.tags if tag == "img"
    )
    assert not re.search(r"https?://", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))


def test_texts_of_files_stay_texts(analysis: Analysis) -> None:
    evil = "<img src=x onerror=alert(1)>$x$"
    table = replace(
        analysis.structures,
        group=np.where(np.arange(80) % 2, evil, "b"),
        dataset=np.full(80, evil),
        formula=np.full(80, evil),
    )
    info = replace(analysis.info, model={**analysis.info.model, "name": evil}, data=[{"name": evil}])
    page = Page(html_report(replace(analysis, structures=table, info=info)))
    assert evil in " ".join(page.words)
    assert not any("onerror" in attributes for _, attributes in page.tags)
