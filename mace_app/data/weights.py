"""How much each structure counts in the loss: ``config_weight`` beside it, times the weight of its ``config_type``.

The keys are MACE's, and a structure without ``config_type`` is of the type ``Default`` as there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mace_app.data.errors import LARGEST, DataError, at, excerpt
from mace_app.data.frames import Frame
from mace_app.options.errors import suggestion

WEIGHT, TYPE, NO_TYPE = "config_weight", "config_type", "Default"


@dataclass
class StructureWeights:
    """Reads the weights of the structures of one role. ``by_type`` is ``config_weights`` of the options."""

    by_type: Mapping[str, float]
    types: dict[str, int] = field(default_factory=dict)  # how often each type was seen
    given: int = 0  # structures with a `config_weight`
    zero: int = 0
    structures: int = 0

    def read(self, frame: Frame, path: Path) -> float:
        """The weight of a structure; DataError for a ``config_weight`` that is none."""
        kind = config_type(frame)
        self.types[kind] = self.types.get(kind, 0) + 1
        self.structures += 1
        weight = self.by_type.get(kind, 1.0)
        if WEIGHT in frame.info:
            self.given += 1
            weight *= _number(frame, path)
        self.zero += weight == 0
        return weight

    def add(self, other: "StructureWeights") -> None:
        """What was counted for the structures that come next."""
        for kind, count in other.types.items():
            self.types[kind] = self.types.get(kind, 0) + count
        self.given += other.given
        self.zero += other.zero
        self.structures += other.structures

    def check(self, paths: Sequence[Path], isolated: Sequence[Frame], warnings: list[str]) -> None:
        """After the last structure of the training files: DataError for a type that none has."""
        place = ", ".join(str(path) for path in paths)
        for kind in self.by_type:
            if kind in self.types:
                continue
            why = "no structure of the training files has"
            if any(config_type(frame) == kind for frame in isolated):
                why = "only isolated atoms have, which give the baseline and are not trained on"
            known = ", ".join(f"`{excerpt(name)}`" for name in sorted(self.types))
            raise DataError(
                f"{place}: `config_weights` names the config_type `{kind}`, which {why}. The types are {known}."
                f"{suggestion(kind, self.types)} Correct the name or remove it."
            )
        if self.given:
            warnings.append(
                f"{place}: `{WEIGHT}` was found for {self.given} of {self.structures} structures and multiplies their "
                "parts of the loss."
            )
        if self.zero:
            warnings.append(
                f"{place}: {self.zero} of {self.structures} structures have the weight 0; their errors are reported, "
                "but the network doesn't learn from them."
            )


def check_weights(role: str, weights: np.ndarray) -> None:
    """After the split: DataError where all structures of a set have the weight 0."""
    if not len(weights) or weights.any():
        return
    so = "there is nothing to learn" if role == "training" else "its loss is 0 whatever the model predicts"
    raise DataError(
        f"Every structure of the {role} set has the weight 0, so {so}. "
        f"Correct `{WEIGHT}` in the file or `config_weights` of the options, or choose another split."
    )


def config_type(frame: Frame) -> str:
    """As text: a type may be written as a number."""
    return str(frame.info.get(TYPE, NO_TYPE))


def _number(frame: Frame, path: Path) -> float:
    raw = frame.info[WEIGHT]
    array = np.asarray(raw)
    value = float(array.reshape(())) if array.dtype.kind in "iuf" and array.size == 1 else float("nan")
    if not 0 <= value < LARGEST:
        raise DataError(
            f"{at(path, frame.index)}: `{WEIGHT}` must be a number from 0 up; it is `{excerpt(str(raw))}`. Correct the "
            "file, or remove the key."
        )
    return value
