import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
Ready = Callable[..., None]


def field(page: Page, name: str) -> Any:
    return page.get_by_role("textbox", name=name, exact=True)


def test_a_choice_made_with_the_keyboard_alone_survives_a_restart_of_the_server(
    start_server: Callable[[], Any], page: Page, ready: Ready
) -> None:
    first = start_server()
    page.goto(f"{first.url}/train?step=model")
    ready(page)
    field(page, "Cutoff radius (Å)").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("4.25")
    page.keyboard.press("Tab")
    yaml = page.locator(".st-key-train-yaml")
    expect(yaml).to_contain_text("r_max: 4.25")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").startswith("Next"):
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("step=training"))
    first.stop()
    second = start_server()
    page.goto(f"{second.url}/train?step=model")
    ready(page)
    expect(field(page, "Cutoff radius (Å)")).to_have_value("4.25")


def test_wrong_input_is_answered_in_red_beside_the_field(server: Any, page: Page, ready: Ready) -> None:
    page.goto(f"{server.url}/train?step=training")
    ready(page)
    rate = field(page, "Learning rate")
    rate.fill("fast")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Enter a number such as 0.01 or 5e-07.")).to_be_visible()
    rate.fill("7")
    page.keyboard.press("Tab")
    error = page.get_by_role("alert").filter(has_text="learning_rate must be at most 1")
    expect(error).to_be_visible()
    red, green, blue = map(int, re.findall(r"\d+", error.evaluate("e => getComputedStyle(e).color"))[:3])
    assert red > 150 and green < 100 and blue < 100
    rate.fill("5e-3")
    page.keyboard.press("Tab")
    expect(error).to_have_count(0)


def test_irreps_can_be_put_together_without_knowing_the_notation(server: Any, page: Page, ready: Ready) -> None:
    page.goto(f"{server.url}/train?step=model")
    ready(page)
    page.get_by_role("button", name="Build").first.click()
    builder = page.get_by_test_id("stPopoverBody")
    builder.get_by_role("radio", name="0").click()
    expect(builder).to_contain_text("64x0e")
    builder.get_by_role("button", name="Use these").click()
    expect(field(page, "Features per atom")).to_have_value("64x0e")


def test_a_yaml_file_is_loaded_and_saved_again_and_a_bad_one_is_refused_with_sentences(
    server: Any, page: Page, ready: Ready
) -> None:
    page.goto(f"{server.url}/train?step=model")
    ready(page)

    def load(text: str) -> None:
        page.get_by_role("button", name="Load YAML").click()
        body = page.get_by_test_id("stPopoverBody")
        with page.expect_response(lambda answer: "/upload_file/" in answer.url and answer.request.method == "PUT"):
            body.locator("input[type=file]").set_input_files(
                {"name": "options.yaml", "mimeType": "application/yaml", "buffer": text.encode()}
            )
        expect(body.get_by_text("options.yaml")).to_be_visible()
        ready(page)
        body.get_by_role("button", name="Load", exact=True).click()
        ready(page)
        page.keyboard.press("Escape")

    load("architecture: {model: {r_max: 3.75}, training: {batch_size: 3}}")
    expect(field(page, "Cutoff radius (Å)")).to_have_value("3.75")
    load("architecture: {model: {r_max: 3.5, <img src=x>: 1}}")
    refused = page.locator(".st-key-train-yaml-refused")
    expect(refused).to_contain_text("There is no option <img src=x> here")
    expect(field(page, "Cutoff radius (Å)")).to_have_value("3.75")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save YAML").click()
    saved = download.value.path().read_text()
    assert "r_max: 3.75" in saved and "batch_size: 3" in saved
