"""Which devices this machine has, found without torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

NVIDIA_SMI_TIMEOUT_SECONDS = 20
# What a training in several processes asks for, and is given: every GPU of the machine.
ALL_CUDA = "cuda (all)"
REMEMBERED = "MACE_APP_STARTERS_CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Card:
    """A line of ``nvidia-smi -L``; ``parts`` are the instances of a card that is split (MIG)."""

    uuid: str
    title: str
    parts: tuple["Card", ...] = ()


def detect_devices() -> dict[str, dict[str, str]]:
    """``cpu`` and ``cuda:0``, ``cuda:1``, …, each with the environment variables that let a worker see only it.

    ``CUDA_VISIBLE_DEVICES``, if set, decides; otherwise ``nvidia-smi -L`` is asked; without it there is no cuda device.
    """
    names = _visible_names()
    if names is None:
        names = [card.uuid for card in _whole_or_parts(_nvidia_cards())]
    cuda = {
        f"cuda:{index}": {"CUDA_VISIBLE_DEVICES": name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        for index, name in enumerate(names)
    }
    return {"cpu": {}, **cuda}


def cuda_titles() -> dict[str, str]:
    """The cuda devices of ``detect_devices`` with what they are called, such as ``NVIDIA A100 80GB PCIe``.

    Empty where ``nvidia-smi`` does not know the device that ``CUDA_VISIBLE_DEVICES`` names.
    """
    cards, names = _nvidia_cards(), _visible_names()
    usable = _whole_or_parts(cards)
    titles = [card.title for card in usable] if names is None else [_title_of(name, cards) for name in names]
    return {f"cuda:{index}": title for index, title in enumerate(titles)}


def fitting_devices(requested: str | None, devices: Sequence[str]) -> list[str]:
    """The devices a run may be given, best first: asked for by name, or the first kind of cuda, cpu there is.

    A cuda device that is asked for but was not found here is still given out: torch in the worker has the last word.
    """
    cuda = [device for device in devices if device.startswith("cuda")]
    if requested in (None, "auto"):
        return cuda or ["cpu"]
    if requested == "cuda":
        return cuda or ["cuda:0"]
    if requested == ALL_CUDA:
        return [ALL_CUDA] if cuda else ["cpu"]
    return [str(requested)]


def occupied(device: str | None, devices: Sequence[str]) -> set[str]:
    """The devices that are not free while one trains on ``device``."""
    if device is None:
        return set()
    cuda = {other for other in (*devices, ALL_CUDA) if other.startswith("cuda")}
    if device == ALL_CUDA:
        return cuda
    return {device, ALL_CUDA} if device.startswith("cuda") else {device}


def worker_environment(
    requested: str | None, given: str | None, devices: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    """Variables for a worker that was given the device ``given``.

    Whoever left the choice, or said ``cuda``, takes the first device in sight, so only the given one is in sight. A run
    that names ``cuda:1``, or takes all, counts by itself and must see them all, in the order nvidia-smi shows them.
    """
    if given is None or not given.startswith("cuda"):
        return {}
    if requested == given:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return devices.get(given, {})


def remembered_devices() -> dict[str, str]:
    """For a worker: which devices its starter saw, should the worker itself have to start the next supervisor."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {REMEMBERED: "" if value is None else f"={value}"}


def without_restriction(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process, so that what it starts sees every device that its own starter saw."""
    variables = dict(environment)
    remembered = variables.pop(REMEMBERED, None)
    if remembered is not None:
        variables.pop("CUDA_VISIBLE_DEVICES", None)
        if remembered.startswith("="):
            variables["CUDA_VISIBLE_DEVICES"] = remembered[1:]
    return variables


def _visible_names() -> list[str] | None:
    """What ``CUDA_VISIBLE_DEVICES`` lets through; None if it is not set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    names = [name.strip() for name in visible.split(",") if name.strip()]
    # CUDA's own rule: an invalid entry hides itself and all that follow.
    return names[: names.index("-1")] if "-1" in names else names


def _title_of(name: str, cards: Sequence[Card]) -> str:
    """CUDA takes the number of a card, or the beginning of the UUID of a card or a part."""
    if name.isdecimal():
        return cards[int(name)].title if int(name) < len(cards) else ""
    known = [entry for card in cards for entry in (card, *card.parts)]
    return next((entry.title for entry in known if entry.uuid.startswith(name)), "")


def _whole_or_parts(cards: Sequence[Card]) -> list[Card]:
    return [entry for card in cards for entry in (card.parts or (card,))]


def _nvidia_cards() -> list[Card]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia_list(answer.stdout) if answer.returncode == 0 else []


def parse_nvidia_list(text: str) -> list[Card]:
    """The cards that ``nvidia-smi -L`` lists, with their parts."""
    cards: list[Card] = []
    for line in text.splitlines():
        before, mark, rest = line.partition("(UUID: ")
        if not mark:
            continue
        uuid = rest.split(")")[0]
        if line.startswith("GPU "):
            cards.append(Card(uuid, before.partition(":")[2].strip()))
        elif cards:
            title = " ".join([cards[-1].title, *before.partition("Device")[0].split()])
            cards[-1] = replace(cards[-1], parts=(*cards[-1].parts, Card(uuid, title)))
    return cards
