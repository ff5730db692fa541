"""Writing the part of a model that mace-torch itself has, as a ``.model`` file of mace-torch.

The file is a pickled ``ScaleShiftMACE``: our scale is its scale, our baseline its atomic energies, in eV and Å. It is
accepted only after mace-torch's own calculator gave the same numbers in a fresh process. Writing a pickle executes
nothing; this program never reads one.
"""

import math
from collections.abc import Mapping
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


@dataclass(frozen=True)
class NativeReport:
    """The written file, the target it predicts, the targets it can't carry, and the checks it passed."""

    file: str
    sha256: str
    target: str
    left_out: list[str]
    checks: list[ExportCheck]

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "sha256": self.sha256,
            "target": self.target,
            "left_out": self.left_out,
            "checks": [check.to_json() for check in self.checks],
        }


def native_target(model: MaceModel, length_unit: str) -> str:
    """The energy that a ``.model`` file would carry; ExportRefused, with the reason, where there can be none."""
    config = model.config
    name = config.internal_target
    if name is None or not config.targets[name].is_energy:
        raise ExportRefused(
            f"mace-torch's own format holds the energy of MACE's own readouts, `{config.hypers.mace_head_target}`, and "
            "this model has no such energy. Export it as `.pt`."
        )
    info = config.targets[name]
    if info.sample_kind != "system":
        raise ExportRefused(
            f"`{name}` is learned per atom and scaled element by element, which mace-torch's own format can't hold. "
            "Export the model as `.pt`."
        )
    if not info.unit:
        raise ExportRefused(f"The target `{name}` has no unit; mace-torch's format needs eV. Give it `unit: eV`.")
    try:
        in_electronvolt(info.unit)
    except (ValueError, RuntimeError) as error:
        raise ExportRefused(
            f"`{name}` is an energy, and its unit `{info.unit}` is none that can be converted to eV; give it one."
        ) from error
    if not math.isclose(in_angstrom(length_unit), 1.0, rel_tol=1e-12):
        raise ExportRefused(
            f"Lengths of this model are in `{length_unit}`, and mace-torch's own format has no unit of length: its "
            "users expect Å. Train on data in Å, or export the model as `.pt`."
        )
    return name


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
    mace = build_native(model, name)
    output = {"name": name, "dtype": str(model.dtype).removeprefix("torch.")}

    def expected(arrays: Mapping[str, np.ndarray]) -> dict[str, Reference]:
        found = references(model, arrays, 1.0, energies_in_ev=True)
        return {label: found[label] for label in model.config.targets[name].labels() if label in found}

    checks = keep_if_it_agrees(
        path,
        save=lambda file: torch.save(mace, file),
        compare=lambda file: compare(model, file, structures, "", max_structures, "fresh_mace.py", [output], expected),
        refusal="mace-torch's calculator disagrees with the model in {labels}, so the `.model` file was not kept. "
        "Report this with the table below.",
    )
    left_out = [target for target in model.config.targets if target != name]
    return NativeReport(path.name, sha256_of(path), name, left_out, checks)


def build_native(model: MaceModel, name: str) -> torch.nn.Module:
    """mace-torch's module with our weights, on the CPU, in the model's dtype; atomic energies in float64."""
    if model.corrections is not None:
        model = model.merged()
    config = model.config
    electronvolt = in_electronvolt(config.targets[name].unit)
    energies = model.baseline.values(name)[:, 0].cpu().numpy() * electronvolt
    scales = model.scaler.scale(name).cpu() * model.scaler.property_scale(name).cpu().reshape(-1)
    scale = float(scales.item()) * electronvolt
    mace: torch.nn.Module
    if config.architecture is None:
        mace = adapter.build_scale_shift_mace(
            config.hypers, config.atomic_types, config.avg_num_neighbors, energies, scale, model.dtype
        )
    else:
        order = [config.atomic_types.index(number) for number in config.architecture.atomic_numbers]
        with torch.random.fork_rng(devices=[]):
            mace = adapter.build_architecture(
                config.architecture, model.dtype, ("Default",), energies[order], (scale, 0.0), scriptable=False
            )
        mace.get_submodule("atomic_energies_fn").atomic_energies = torch.tensor(energies[order][None])
    state = {key: value.detach().cpu() for key, value in model.backbone.state_dict().items()}
    missing, unexpected = mace.load_state_dict(state, strict=False)
    own = ("r_max", "num_interactions", "atomic_energies_fn.", "scale_shift.")
    missing = [key for key in missing if not key.startswith(own)]
    if missing or unexpected:
        raise ExportRefused(
            "The weights of this model are not those of mace-torch's model of the same hyperparameters "
            f"({', '.join([*missing, *unexpected])}). Export it as `.pt`."
        )
    return mace.eval()
