import io
import time

import pytest

from mace_app.tasks.terminal import Terminal, duration

FIELDS = {
    "phase": "training",
    "message": "Epoch 2 of 3",
    "done": 1.5,
    "total": 3,
    "eta_seconds": 245.0,
    "structures_per_second": 12.34,
}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_speed_and_the_time_that_is_left():
    screen = Screen()
    terminal = Terminal(screen)
    terminal.progress(FIELDS)
    terminal.log("a line")
    terminal.close()
    text = screen.getvalue()
    assert "Epoch 2 of 3  50%|" in text
    assert "12.3 structures/s, 4:05 min left" in text
    assert "\ra line\n" in text


def test_message_and_time_are_renewed_while_the_bar_stands_still():
    screen = Screen()
    terminal = Terminal(screen)
    for second in range(4):
        terminal.progress(FIELDS | {"message": f"Step {second}", "eta_seconds": 9 - second})
        time.sleep(0.25)
    terminal.close()
    assert "Step 3" in screen.getvalue() and "6 s left" in screen.getvalue()


def test_a_file_gets_the_lines_alone():
    file = io.StringIO()
    terminal = Terminal(file)
    terminal.progress(FIELDS)
    terminal.log("a line")
    terminal.close()
    assert file.getvalue() == "a line\n"


@pytest.mark.parametrize("seconds, text", [(7.2, "7 s"), (245, "4:05 min"), (11045, "3:04:05 h")])
def test_durations_are_easy_to_read(seconds, text):
    assert duration(seconds) == text
