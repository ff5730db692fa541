"""Where a training starts: from random weights or from a foundation file, as a draft says it; and what becomes of the
file's energy. Nothing here draws or reads a file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mace_app.options import TargetInfo, option_fields
from mace_app.options.model import FROM_FILE
from mace_app.options.normalisation import FOUNDATION_WORDS
from mace_app.options.training import TrainingHypers
from mace_app.ui import replay
from mace_app.ui.draft import MODEL, TRAINING, Draft, Loc
from mace_app.ui.draft_data import Source
from mace_app.ui.target_names import OWN_READOUT

FILE = (*MODEL, "mace_model")
HEAD = (*MODEL, "mace_head_name")
MORE_HEADS = (*MODEL, "more_mace_heads")
BASELINE = (*TRAINING, "atomic_baseline")
ELEMENTS: Loc = ("architecture", "atomic_types")
FREEZE = (*TRAINING, "freeze")
FINE_TUNING_SECTION = "Fine-tuning"
FOUNDATION_SECTION = "Foundation model"
# They describe the readouts of added scalar targets, too.
READOUTS = ("gate", "MLP_irreps")


def file_of(draft: Draft) -> str | None:
    """The foundation file of a draft; empty where one is still to be chosen, None for a start from random weights."""
    value = draft.get(FILE)
    return None if value is None else str(value)


def own_energies(draft: Draft) -> list[str]:
    """Targets that the file's readouts serve; none without a file."""
    if file_of(draft) is None:
        return []
    more = draft.get(MORE_HEADS)
    return list(dict.fromkeys([main_energy(draft), *(map(str, more) if isinstance(more, Mapping) else ())]))


def main_energy(draft: Draft) -> str:
    return str(draft.get(OWN_READOUT) or "energy")


def start_from(draft: Draft, path: str, heads: Collection[str] | None = None) -> None:
    """Take a file, and drop what it decides; ``heads`` are those of the file, None where they are not known."""
    draft.set(FILE, path)
    for name in FROM_FILE:
        draft.unset((*MODEL, name))
    draft.unset(ELEMENTS)
    if heads is not None:
        chosen = draft.get(HEAD)
        if chosen is not None and (chosen not in heads or len(heads) == 1):
            draft.unset(HEAD)
        more = draft.get(MORE_HEADS)
        for name, head in more.items() if isinstance(more, Mapping) else ():
            if head is not None and head not in heads:
                draft.set((*MORE_HEADS, name), None)


def from_scratch(draft: Draft, ready: Sequence[Source] = ()) -> None:
    """Leave the file, and whatever has a meaning only with one. ``ready`` are the data sets that can be chosen."""
    replay.remove(draft, ready)
    for loc in (FILE, HEAD, MORE_HEADS, *((*TRAINING, name) for name in fine_tuning_options())):
        draft.unset(loc)
    given = draft.get(BASELINE)
    for name, entry in list(given.items()) if isinstance(given, Mapping) else ():
        if entry in FOUNDATION_WORDS:
            draft.unset((*BASELINE, name))


def fine_tuning_options() -> list[str]:
    """Options of the training that are refused without a file."""
    return [item.name for item in option_fields(TrainingHypers) if item.section == FINE_TUNING_SECTION]


def moot_model_options(draft: Draft, targets: Mapping[str, TargetInfo]) -> list[str]:
    """Options of the model that have no effect as the draft stands, because of its file or for want of one."""
    if file_of(draft) is None:
        return ["mace_head_name"]
    own = own_energies(draft)
    scalars = any(irrep.kind == "0e" for name, target in targets.items() if name not in own for irrep in target.irreps)
    return [*FROM_FILE, *(() if scalars else READOUTS)]


def moot_training_options(draft: Draft, targets: Mapping[str, TargetInfo]) -> list[str]:
    """Options of the training that have no effect as the draft stands, because of its file or for want of one."""
    if file_of(draft) is None:
        return fine_tuning_options()
    own = own_energies(draft)
    other_energies = any(target.is_energy for name, target in targets.items() if name not in own)
    return [] if other_energies or not targets else ["energy_scale"]


# What becomes of the energy


@dataclass(frozen=True)
class Choice:
    """A button: the options it sets (None: to their defaults)."""

    name: str
    label: str
    values: tuple[tuple[Loc, Any], ...]

    def make(self, draft: Draft) -> None:
        for loc, value in self.values:
            if value is None:
                draft.unset(loc)
            else:
                draft.set(loc, value)


@dataclass(frozen=True)
class Fate:
    """What becomes of the file's energy, in a sentence of ours, and what could be chosen instead."""

    kind: Literal["trained", "readouts only", "kept", "left out"]
    sentence: str
    choices: tuple[Choice, ...] = ()


def fate_of_energy(draft: Draft, targets: Mapping[str, TargetInfo]) -> Fate:
    """From the targets chosen and what is frozen. Of a draft that starts from a file."""
    main = main_energy(draft)
    frozen = draft.get(FREEZE) == "backbone"
    if main in targets:
        if frozen:
            return Fate(
                "readouts only",
                f"Of the file's energy only the readouts are trained, by `{main}`. The backbone stays as it is.",
                (_thaw("Train the backbone too"),),
            )
        return Fate("trained", _trained(draft, main))
    others = [name for name, target in targets.items() if _could_go_on(target) and name not in own_energies(draft)]
    going_on = tuple(
        Choice(f"goes-on-{name}", f"Go on with the file's energy as `{name}`", ((OWN_READOUT, name),))
        for name in others[:2]
    )
    random = f" The heads of {_listed(others)} begin with random weights." if others else ""
    if frozen:
        return Fate(
            "kept",
            "Only new heads are trained and the backbone stays as it is, so the file's energy stays exact and is "
            f"exported beside them, as `{main}`.{random}",
            (_thaw("Train the backbone too, without the energy"), *going_on),
        )
    return Fate(
        "left out",
        f"No target trains the file's energy (`{main}`), and the backbone changes: what the file says of the energy "
        f"would become wrong, so it is left out of the model.{random}",
        (*_keep(draft), *going_on),
    )


def _trained(draft: Draft, main: str) -> str:
    factor = draft.get((*TRAINING, "backbone_learning_rate_factor"))
    if draft.get((*TRAINING, "lora_rank")) is not None:
        how = "through small corrections of the backbone (LoRA)"
    elif draft.get(FREEZE) == "layers":
        how = "while the first layers stay as they are"
    elif factor is not None:
        how = f"the backbone at {factor} of the learning rate"
    else:
        how = "with all weights free (naive fine-tuning)"
    forgets = "" if replay.replayed(draft) is not None else " It may forget what your data do not show; see below."
    return f"The file's energy goes on training as `{main}`, {how}.{forgets}"


def _could_go_on(target: TargetInfo) -> bool:
    return target.is_energy and target.sample_kind == "system" and target.num_subtargets == 1


def _keep(draft: Draft) -> tuple[Choice, ...]:
    """Freeze the backbone, and drop what is refused beside that."""
    dropped = ["lora_rank", "lora_alpha", "freeze_layers", "backbone_learning_rate_factor"]
    if draft.get((*TRAINING, "weight_decay")) not in (None, 0, 0.0):
        dropped.append("weight_decay")
    values = ((FREEZE, "backbone"), *(((*TRAINING, name), None) for name in dropped))
    return (Choice("keep", "Keep the energy exact: freeze the backbone", values),)


def _thaw(label: str) -> Choice:
    return Choice("thaw", label, ((FREEZE, None),))


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
