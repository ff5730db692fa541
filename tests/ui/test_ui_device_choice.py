"""Which devices a person is offered, and how they are called."""

import time
from collections.abc import Iterator

import pytest

from mace_app.ui import device_choice


@pytest.fixture(autouse=True)
def not_looked_yet() -> Iterator[None]:
    device_choice._search.cache_clear()
    yield
    device_choice._search.cache_clear()


def test_the_gpus_of_this_machine_are_offered_by_number_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_choice, "cuda_titles", lambda: {"cuda:0": "NVIDIA A100", "cuda:1": ""})
    assert device_choice.device_names("auto") == ["auto", "cpu", "cuda", "cuda:0", "cuda:1"]
    assert device_choice.device_names("cuda:7")[-1] == "cuda:7", "what was chosen elsewhere stays chosen"
    assert device_choice.device_title("cuda:0") == "cuda:0 · NVIDIA A100"
    assert device_choice.device_title("cuda:1") == "cuda:1"


def test_cards_that_take_long_to_answer_do_not_make_a_page_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep() -> dict[str, str]:
        time.sleep(0.3)
        return {"cuda:0": "NVIDIA A100"}

    monkeypatch.setattr(device_choice, "cuda_titles", asleep)
    monkeypatch.setattr(device_choice, "PATIENCE_SECONDS", 0.05)
    assert device_choice.device_names("auto") == ["auto", "cpu", "cuda"]
    monkeypatch.setattr(device_choice, "PATIENCE_SECONDS", 10)
    assert device_choice.device_names("auto") == ["auto", "cpu", "cuda", "cuda:0"]
