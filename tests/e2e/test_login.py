"""The page that asks for the token, as a person meets it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
TOKEN = "a-token-of-24-characters"


def test_a_person_without_the_token_is_asked_for_it_and_comes_where_they_wanted(
    start_server: Callable[..., Any], page: Page, ready: Callable[..., None]
) -> None:
    server = start_server({"STREAMLIT_SERVER_ADDRESS": "0.0.0.0", "MACE_APP_TOKEN": TOKEN})
    page.goto(f"{server.url}/datasets")
    expect(page.get_by_role("heading", name="MACE Studio")).to_be_visible()
    page.get_by_label("Token").fill("a-wrong-token-of-this-length")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("not the token of this server")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible(timeout=60_000)
    ready(page)
    expect(page).to_have_url(re.compile("/datasets$"))
    page.get_by_text("Path on this machine").click()
    page.get_by_role("textbox", name="Path of the file").fill("/etc/passwd")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("lies outside the folders that this server reads data from")
    page.context.clear_cookies()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


def test_the_printed_address_opens_the_app_and_uploads_work_behind_the_token(
    start_server: Callable[..., Any], page: Page, ready: Callable[..., None]
) -> None:
    server = start_server({"STREAMLIT_SERVER_ADDRESS": "0.0.0.0"})
    found = re.search(r"/\?token=\S+", server.log.read_text())
    assert found, "the address with the token is not printed"
    page.goto(server.url + found[0])
    expect(page.get_by_role("heading", name="MACE Studio", level=1)).to_be_visible(timeout=60_000)
    assert "token" not in page.url
    page.goto(f"{server.url}/datasets")
    content = b'1\nenergy=-1.0 pbc="F F F"\nH 0 0 0\n'
    page.locator("input[type=file]").set_input_files({"name": "atom.xyz", "mimeType": "text/plain", "buffer": content})
    expect(page.get_by_role("heading", name="What the keys mean")).to_be_visible(timeout=120_000)
    ready(page)
    assert [path.read_bytes() for path in server.workspace.glob("datasets/*/source/atom.xyz")] == [content]
    assert list((server.workspace / "uploads").iterdir()) == []
