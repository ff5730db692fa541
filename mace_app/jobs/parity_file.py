"""``parity/validation.npz``: reference against prediction of the newest validation, without pickles."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.files import atomic_open
from mace_app.jobs.errors import RunFolderError

if TYPE_CHECKING:
    import numpy as np

PARTS = ("reference", "prediction", "structure", "atom")


@dataclass(frozen=True)
class ParityLabel:
    """Rows of one label, in its unit; ``structure`` is the row's place in the set, ``atom`` is None for systems."""

    reference: "np.ndarray"
    prediction: "np.ndarray"
    structure: "np.ndarray"
    atom: "np.ndarray | None" = None


@dataclass(frozen=True)
class Parity:
    epoch: int
    labels: dict[str, ParityLabel]


def write_parity(path: Path, arrays: Mapping[str, Any], epoch: int) -> None:
    """``arrays`` maps ``<label>:reference``, ``:prediction``, ``:structure`` and, of atoms, ``:atom``."""
    import numpy as np

    plain = {key: np.asarray(value) for key, value in arrays.items()}
    unfit = [key for key, value in plain.items() if value.dtype.hasobject or key.rpartition(":")[2] not in PARTS]
    if unfit:
        raise ValueError(f"parity arrays must be plain numbers named <label>:<{'|'.join(PARTS)}>; unfit: {unfit}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path) as stream:
        np.savez(stream, epoch=np.asarray(epoch), **plain)  # type: ignore[arg-type]  # a stub's misreading


def read_parity(path: Path) -> Parity | None:
    """None if nothing was written yet; RunFolderError if the file is damaged."""
    import numpy as np

    if not path.exists():
        return None
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        epoch = int(arrays.pop("epoch"))
        grouped: dict[str, dict[str, Any]] = {}
        for key, value in arrays.items():
            label, _, part = key.rpartition(":")
            if part in PARTS:
                grouped.setdefault(label, {})[part] = value
        return Parity(epoch, {label: ParityLabel(**parts) for label, parts in grouped.items()})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path} is damaged ({error}); it is written anew at the next validation.") from error
