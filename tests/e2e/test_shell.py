import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

TITLES = {
    "": "Home",
    "datasets": "Datasets",
    "train": "Train",
    "foundation": "Foundation models",
    "runs": "Runs",
    "analysis": "Analysis",
    "models": "Models",
}


def _first_paint(server: Any, page: Page, path: str) -> float:
    begin = time.perf_counter()
    page.goto(f"{server.url}/{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return time.perf_counter() - begin


@pytest.mark.parametrize("path", TITLES)
def test_a_cold_deep_link_looks_like_any_other_visit_and_paints_within_two_seconds(
    path: str, start_server: Callable[[], Any], page: Page
) -> None:
    seconds = _first_paint(start_server(), page, path)
    links = page.get_by_test_id("stSidebarNav").get_by_role("link")
    expect(links).to_have_count(len(TITLES))
    assert [text.split("\n")[-1] for text in links.all_inner_texts()] == list(TITLES.values())
    assert "Inter" in page.evaluate("getComputedStyle(document.querySelector('h1')).fontFamily")
    assert page.get_by_test_id("stException").count() == 0
    assert page.title() in {"MACE Studio", *TITLES.values()}
    for _ in range(3):  # the machine may be busy with something else: again, as cold as before
        if seconds >= 2.0:
            seconds = _first_paint(start_server(), page, path)
    assert seconds < 2.0, f"first paint took {seconds:.2f} s"


def test_a_stranger_host_name_is_turned_away_from_our_own_routes_too(server: Any) -> None:
    for path in ("/downloads/runs/a/model.pt", "/vendor/plotly", "/_stcore/host-config"):
        request = urllib.request.Request(server.url + path, headers={"Host": "rebound.example"})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request)
        with refusal.value as answer:
            assert answer.code in (400, 403)


def test_irreps_keep_their_letter_x_in_the_page_font(server: Any, page: Page) -> None:
    page.goto(server.url)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function("""() => getComputedStyle(document.body).fontFeatureSettings === '"calt" 0'""")
