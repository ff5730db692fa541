"""Where a training may run: the devices of this machine by name, found without torch and without making a page wait."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from functools import cache

from mace_app.jobs.devices import cuda_titles

ALWAYS = ("auto", "cpu", "cuda")
PATIENCE_SECONDS = 2.0
HELP = "`auto` takes a GPU where there is one, otherwise the CPU; `cuda:1` names one GPU."


def device_names(current: str) -> list[str]:
    """What to choose from: every device that is known, and the one that is chosen now."""
    return list(dict.fromkeys([*ALWAYS, *_titles(), current]))


def device_title(name: str) -> str:
    """``cuda:1 · NVIDIA A100 80GB PCIe``, or the bare name of a device that nothing is known of."""
    title = _titles().get(name, "")
    return f"{name} · {title}" if title else name


def look_for_devices() -> None:
    """Begin to look; what was found is kept as long as the server lives."""
    _search()


def _titles() -> Mapping[str, str]:
    """Empty while ``nvidia-smi`` takes its time, as it does on a machine whose cards sleep; waited for once only."""
    found, begun = _search()
    try:
        return found.result(max(0.0, begun + PATIENCE_SECONDS - time.monotonic()))
    except NotYet:
        return {}


@cache
def _search() -> tuple[Future[dict[str, str]], float]:
    """And when it began."""
    return ThreadPoolExecutor(1, "devices").submit(cuda_titles), time.monotonic()
