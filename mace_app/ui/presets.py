"""Starting points: sets of values for the options that decide size, speed and accuracy.

A preset names only what differs from the defaults, so that nothing it sets looks edited without being so.
"""

from dataclasses import dataclass
from typing import Any

from mace_app.ui.draft import MODEL, TRAINING, Draft, Loc

FILE = (*MODEL, "mace_model")


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

# With a foundation file. The weights are good already: small steps, and the best epoch comes early.
FEW = _preset(
    "Few structures",
    "For 10 to 100 structures of your own: all weights move, in small steps that shrink to nothing. Minutes on a CPU.",
    {},
    {},
    {
        "num_epochs": 200,
        "batch_size": 5,
        "learning_rate": 0.001,
        "lr_scheduler": "CosineAnnealingLR",
        "checkpoint_interval": 50,
    },
)
MANY = _preset(
    "Many structures",
    "For hundreds of structures and more: fewer epochs in larger batches, with the same small steps.",
    {},
    {},
    {
        "num_epochs": 60,
        "batch_size": 8,
        "learning_rate": 0.001,
        "lr_scheduler": "CosineAnnealingLR",
        "checkpoint_interval": 10,
    },
)
CAREFUL = _preset(
    "With old data",
    "Beside old data that are trained too: the steps of MACE's own fine-tuning with replay, small and many.",
    {},
    {},
    {
        "num_epochs": 100,
        "batch_size": 5,
        "learning_rate": 0.0001,
        "ema_decay": 0.999,
        "checkpoint_interval": 20,
    },
)
FINE_TUNING = (FEW, MANY, CAREFUL)


def offered(draft: Draft) -> tuple[Preset, ...]:
    """Those that fit where the training starts."""
    return PRESETS if draft.get(FILE) is None else FINE_TUNING


def apply(preset: Preset, draft: Draft, estimate: str | None = None) -> None:
    """Set the values of a preset and return what only other presets set to its default.

    ``estimate`` is a target that goes on from a foundation file: unless its energies of single atoms were chosen
    already, they are shifted to the level of theory of the data.
    """
    _drop(draft)
    for loc, value in preset.values.items():
        draft.set(loc, value)
    baseline = (*TRAINING, "atomic_baseline")
    if estimate is not None and not isinstance(draft.get(baseline), str) and not draft.has((*baseline, estimate)):
        draft.set((*baseline, estimate), "estimated")


def leave(draft: Draft) -> None:
    """Before a start from elsewhere: the values of a preset in use go, those a person chose stay."""
    if current(draft) is not None:
        _drop(draft)


def current(draft: Draft) -> Preset | None:
    """The preset the draft stands at: every value that any preset of its kind governs is as this one has it."""
    presets = offered(draft)
    governed = {loc for preset in presets for loc in preset.values}
    here = {loc: draft.get(loc) for loc in governed}
    return next((p for p in presets if here == {loc: p.values.get(loc) for loc in governed}), None)


def _drop(draft: Draft) -> None:
    for loc in {loc for preset in (*PRESETS, *FINE_TUNING) for loc in preset.values}:
        draft.unset(loc)
