"""Starting points: sets of values for the options that decide size, speed and accuracy.

A preset names only what differs from the defaults, so that nothing it sets looks edited without being so.
"""

from dataclasses import dataclass
from typing import Any

from mace_app.ui.draft import MODEL, TRAINING, Draft, Loc


@dataclass(frozen=True)
class Preset:
    """``values`` by their way through the options; what no preset mentions is left as it is."""

    name: str
    summary: str
    values: dict[Loc, Any]


def _preset(name: str, summary: str, run: dict[str, Any], model: dict[str, Any], training: dict[str, Any]) -> Preset:
    values: dict[Loc, Any] = {(key,): value for key, value in run.items()}
    values |= {(*MODEL, key): value for key, value in model.items()}
    values |= {(*TRAINING, key): value for key, value in training.items()}
    return Preset(name, summary, values)


QUICK = _preset(
    "Quick try",
    "A small model in single precision, to see that everything works. A few hundred molecules take minutes on a CPU.",
    {"base_precision": 32},
    {"r_max": 4.0, "hidden_irreps": "16x0e + 16x1o", "max_ell": 2, "correlation": 2, "num_radial_basis": 6},
    {
        "num_epochs": 30,
        "batch_size": 8,
        "lr_scheduler": "ExponentialLR",
        "lr_scheduler_gamma": 0.9,
        "checkpoint_interval": 10,
    },
)
STANDARD = _preset(
    "Standard",
    "A model for production on one GPU: good accuracy at a fair price. Hours on a CPU.",
    {"base_precision": 32},
    {"hidden_irreps": "64x0e + 64x1o"},
    {"num_epochs": 300, "batch_size": 8, "lr_scheduler_patience": 15, "checkpoint_interval": 20},
)
ACCURATE = _preset(
    "Accurate",
    "A large model in double precision with a long cutoff. For a GPU and patience.",
    {},
    {"r_max": 6.0},
    {"num_epochs": 800, "batch_size": 4, "lr_scheduler_patience": 25, "checkpoint_interval": 20},
)
PRESETS = (QUICK, STANDARD, ACCURATE)


def apply(preset: Preset, draft: Draft) -> None:
    """Set the values of a preset and return what only other presets set to its default."""
    for loc in {loc for other in PRESETS for loc in other.values}:
        draft.unset(loc)
    for loc, value in preset.values.items():
        draft.set(loc, value)


def current(draft: Draft) -> Preset | None:
    """The preset the draft stands at: every value that any preset governs is as this one has it."""
    governed = {loc for preset in PRESETS for loc in preset.values}
    here = {loc: draft.get(loc) for loc in governed}
    return next((p for p in PRESETS if here == {loc: p.values.get(loc) for loc in governed}), None)
