"""Files that can't be used, through a real browser: a sentence each, no traceback, no markup obeyed."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
FRAME = (
    '3\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 "<b>key</b>"=1 pbc="F F F"\n'
    "O 0 0 0 0 0 0\nH 1 0 0 0 0 0\nH 0 1 0 0 0 0\n"
)


def upload(page: Page, name: str, text: str) -> None:
    if not page.get_by_text("File with structures").is_visible():
        page.get_by_text("Add data", exact=True).click()
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})


def test_files_that_can_not_be_used_get_a_sentence_and_markup_in_them_stays_text(server: Any, page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{server.url}/datasets")
    refused = page.get_by_test_id("stAlert").filter(has_text="The file can't be used as it is")

    upload(page, "empty.xyz", "")
    expect(refused).to_contain_text("empty", timeout=120_000)

    upload(page, "middle.xyz", FRAME * 2 + FRAME.replace("H 1 0 0 0 0 0", "H 1 0 zero 0 0 0") + FRAME)
    expect(refused).to_contain_text("frame 2", timeout=120_000)

    upload(page, "<img src=x onerror=alert(1)>.xyz", FRAME * 3)
    expect(page.get_by_role("heading", name="What the keys mean")).to_be_visible(timeout=120_000)
    expect(page.get_by_text("<b>key</b>").first).to_be_visible()
    assert page.locator("img[src='x']").count() == 0 and dialogs == []
    assert page.get_by_test_id("stException").count() == 0
    assert "Traceback" not in server.log.read_text()
