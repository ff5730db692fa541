"""What a task does before it begins: device, seed, threads, versions."""

import importlib.metadata
import platform
import random

import numpy as np
import torch

from mace_app import __version__
from mace_app.tasks.errors import TaskError

PACKAGES = ("torch", "mace-torch", "e3nn", "metatomic-torch", "metatensor-torch", "ase", "numpy", "matscipy")


def choose_device(name: str) -> torch.device:
    """``auto``: the first GPU if there is one. TaskError for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"only {torch.cuda.device_count()}" if torch.cuda.device_count() else "none that torch can use"
        raise TaskError(f"`device: {name}` asks for a GPU, but there is {found}. Use `device: auto` or `device: cpu`.")
    return device


def device_name(device: torch.device) -> str:
    """For people: ``cpu, 2 threads`` or the name of the GPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu, {torch.get_num_threads()} threads"


def set_seed(seed: int) -> None:
    """All global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """Of this program and what it stands on."""
    found = {"mace-studio": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
