"""Writing the part of a model that mace-torch itself has, as a ``.model`` file of mace-torch.

The file is a pickled ``ScaleShiftMACE``: our scale is its scale, our baseline its atomic energies, in eV and Å. Several
energies with readouts of MACE's own are its heads. It is accepted only after mace-torch's own calculator gave the same
numbers in a fresh process. Writing a pickle executes nothing; this program never reads one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mace_app.export.check import ExportCheck, compare
from mace_app.export.errors import ExportRefused
from mace_app.export.keeping import keep_if_it_agrees, usable_path
from mace_app.export.references import Reference, in_angstrom, in_electronvolt, references
from mace_app.files import sha256_of
from mace_app.model import GraphSource, MaceModel, adapter
from mace_app.model.readouts import join_readouts, scalars_seen


@dataclass(frozen=True)
class NativeReport:
    """The written file, the target it predicts, the head of each of its targets, the targets it can't carry, and the
    checks it passed."""

    file: str
    sha256: str
    target: str
    left_out: list[str]
    checks: list[ExportCheck]
    heads: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "sha256": self.sha256,
            "target": self.target,
            "left_out": self.left_out,
            "heads": self.heads,
            "checks": [check.to_json() for check in self.checks],
        }


def native_target(model: MaceModel, length_unit: str) -> str:
    """The first energy that a ``.model`` file would carry; ExportRefused, with the reason, where there is none."""
    config = model.config
    name = config.internal_target
    if name is None or not config.targets[name].is_energy:
        raise ExportRefused(
            f"mace-torch's own format holds the energy of MACE's own readouts, `{config.hypers.mace_head_target}`, and "
            "this model has no such energy. Export it as `.pt`."
        )
    reason = _unfit(model, name)
    if reason is not None:
        raise ExportRefused(reason)
    if not math.isclose(in_angstrom(length_unit), 1.0, rel_tol=1e-12):
        raise ExportRefused(
            f"Lengths of this model are in `{length_unit}`, and mace-torch's own format has no unit of length: its "
            "users expect Å. Train on data in Å, or export the model as `.pt`."
        )
    return name


def _unfit(model: MaceModel, name: str) -> str | None:
    """Why an internal target can't be a head of the file."""
    info = model.config.targets[name]
    if not info.is_energy:
        return f"`{name}` is no energy, and a `.model` file holds energies only. Export the model as `.pt`."
    if info.sample_kind != "system":
        return (
            f"`{name}` is learned per atom and scaled element by element, which mace-torch's own format can't hold. "
            "Export the model as `.pt`."
        )
    if not info.unit:
        return f"The target `{name}` has no unit; mace-torch's format needs eV. Give it `unit: eV`."
    try:
        in_electronvolt(info.unit)
    except (ValueError, RuntimeError):
        return f"`{name}` is an energy, and its unit `{info.unit}` is none that can be converted to eV; give it one."
    return None


def head_name(target: str) -> str:
    """``Default`` for the energy itself, which MACE's calculator then takes unless told otherwise; ``pbe`` for
    ``energy/pbe``."""
    return "Default" if target == "energy" else target.removeprefix("mtt::").removeprefix("energy/")


def export_native(
    model: MaceModel, path: Path | str, structures: GraphSource, length_unit: str = "", max_structures: int = 8
) -> NativeReport:
    """Write ``path`` (must end in ``.model``) for ``mace.calculators.MACECalculator``; the model is not touched.

    Energy, forces and stress must agree in a fresh process on up to ``max_structures`` of ``structures``. Raises
    ExportRefused otherwise; then there is no new file, and an old one at ``path`` is as it was. Added heads are left
    out and named in the report.
    """
    path = usable_path(path, ".model", "file for mace-torch", structures)
    name = native_target(model, length_unit)
    carried = [name, *(other for other in model.config.internal_targets[1:] if _unfit(model, other) is None)]
    mace = build_native(model, *carried)
    heads = native_heads(carried)
    dtype = str(model.dtype).removeprefix("torch.")
    outputs = [{"name": target, "head": head, "dtype": dtype} for target, head in heads.items()]

    def expected(arrays: Mapping[str, np.ndarray]) -> dict[str, Reference]:
        found = references(model, arrays, 1.0, energies_in_ev=True)
        labels = [label for target in carried for label in model.config.targets[target].labels()]
        return {label: found[label] for label in labels if label in found}

    checks = keep_if_it_agrees(
        path,
        save=lambda file: torch.save(mace, file),
        compare=lambda file: compare(model, file, structures, "", max_structures, "fresh_mace.py", outputs, expected),
        refusal="mace-torch's calculator disagrees with the model in {labels}, so the `.model` file was not kept. "
        "Report this with the table below.",
    )
    left_out = [target for target in model.config.targets if target not in carried]
    return NativeReport(path.name, sha256_of(path), name, left_out, checks, heads)


def native_heads(targets: Sequence[str]) -> dict[str, str]:
    """The head of each target; a single one is MACE's ``Default`` whatever its name."""
    if len(targets) == 1:
        return {targets[0]: "Default"}
    return {target: head_name(target) for target in targets}


def build_native(model: MaceModel, *names: str) -> torch.nn.Module:
    """mace-torch's module with our weights and a head for each of the internal targets ``names``, on the CPU, in the
    model's dtype; atomic energies in float64."""
    if model.corrections is not None:
        model = model.merged()
    config = model.config
    heads = list(native_heads(names).values())
    energies = np.stack([_atomic_energies(model, name) for name in names])
    scales = np.array([_scale(model, name) for name in names])
    mace: torch.nn.Module
    if config.architecture is None:
        mace = adapter.build_scale_shift_mace(
            config.hypers, config.atomic_types, config.avg_num_neighbors, energies, scales, model.dtype, heads
        )
    else:
        energies = energies[:, [config.atomic_types.index(number) for number in config.architecture.atomic_numbers]]
        scale_shift = (scales, np.zeros_like(scales)) if len(names) > 1 else (float(scales[0]), 0.0)
        with torch.random.fork_rng(devices=[]):
            mace = adapter.build_architecture(
                config.architecture, model.dtype, heads, energies, scale_shift, scriptable=False
            )
        mace.get_submodule("atomic_energies_fn").atomic_energies = torch.tensor(energies)
    state = _state(model, names, mace)
    missing, unexpected = mace.load_state_dict(state, strict=False)
    own = ("r_max", "num_interactions", "atomic_energies_fn.", "scale_shift.")
    missing = [key for key in missing if not key.startswith(own) and not key.endswith("output_mask")]
    if missing or unexpected:
        raise ExportRefused(
            "The weights of this model are not those of mace-torch's model of the same hyperparameters "
            f"({', '.join([*missing, *unexpected])}). Export it as `.pt`."
        )
    return mace.eval()


def _atomic_energies(model: MaceModel, name: str) -> np.ndarray:
    """[elements] in eV."""
    return np.asarray(
        model.baseline.values(name)[:, 0].cpu().numpy() * in_electronvolt(model.config.targets[name].unit)
    )


def _scale(model: MaceModel, name: str) -> float:
    scale = model.scaler.scale(name).cpu() * model.scaler.property_scale(name).cpu().reshape(-1)
    return float(scale.item()) * in_electronvolt(model.config.targets[name].unit)


def _state(model: MaceModel, names: Sequence[str], mace: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights by mace-torch's names: those of the backbone as they are, and the readouts of the heads joined."""
    config = model.config
    readouts = ("readouts.", "more_readouts.")
    state = {
        key: value.detach().cpu() for key, value in model.backbone.state_dict().items() if not key.startswith(readouts)
    }
    parts = [{key: value.detach().cpu() for key, value in model.readouts(name).state_dict().items()} for name in names]
    shapes = mace.state_dict()
    for key in parts[0]:
        if not key.endswith("output_mask"):
            inputs = scalars_seen(config.layer_irreps, config.last_readout_only, int(key.partition(".")[0]))
            together = join_readouts(key, [part[key] for part in parts], inputs)
            state[f"readouts.{key}"] = together.reshape(shapes[f"readouts.{key}"].shape)
    return state
