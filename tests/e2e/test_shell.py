import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

TITLES = {"": "Home", "datasets": "Datasets", "train": "Train", "runs": "Runs", "models": "Models"}


@pytest.mark.parametrize("path", TITLES)
def test_a_cold_deep_link_looks_like_any_other_visit_and_paints_within_two_seconds(
    path: str, server: Any, page: Page
) -> None:
    begin = time.perf_counter()
    page.goto(f"{server.url}/{path}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_be_visible()
    seconds = time.perf_counter() - begin
    links = page.get_by_test_id("stSidebarNav").get_by_role("link")
    expect(links).to_have_count(len(TITLES))
    assert [text.split("\n")[-1] for text in links.all_inner_texts()] == list(TITLES.values())
    family = page.evaluate("getComputedStyle(document.querySelector('h1')).fontFamily")
    assert "Inter" in family
    assert page.get_by_test_id("stException").count() == 0
    assert page.title().endswith("MACE Studio") or page.title() in TITLES.values()
    assert seconds < 2.0, f"first paint took {seconds:.2f} s"


def test_a_stranger_host_name_is_turned_away_from_our_own_routes_too(server: Any) -> None:
    for path in ("/vendor/plotly/plotly.min.js", "/_stcore/host-config"):
        request = urllib.request.Request(server.url + path, headers={"Host": "rebound.example"})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request)
        with refusal.value as answer:
            assert 400 <= answer.code < 500


def test_irreps_keep_their_letter_x_in_the_page_font(server: Any, page: Page) -> None:
    page.goto(server.url)
    page.get_by_role("heading", level=1).wait_for()
    assert page.evaluate("getComputedStyle(document.body).fontFeatureSettings") == '"calt" 0'
