"""Writing a model as a metatomic file, accepted only after a fresh process agreed with it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput

from mace_app.export.auxiliary import auxiliary_names, describe
from mace_app.export.check import SCRIPT, ExportCheck, Original, compare_in_fresh_process
from mace_app.export.errors import ExportRefused
from mace_app.export.fresh import FreshProcess
from mace_app.export.keeping import keep_if_it_agrees, usable_path
from mace_app.export.module import ExportedModel
from mace_app.export.names import metatomic_unit, needs_unit, uncertainty_name
from mace_app.export.references import file_unit, in_electronvolt
from mace_app.files import sha256_of
from mace_app.model import EnergyUncertainty, GraphSource, MaceModel


@dataclass(frozen=True)
class ExportMetadata:
    """What a stranger should know about the file. ``references`` as in metatomic: ``architecture``, ``model`` and
    ``implementation``, each a list of texts. ``length_unit`` is that of the training data."""

    name: str
    description: str = ""
    authors: list[str] = field(default_factory=list)
    references: Mapping[str, list[str]] = field(default_factory=dict)
    length_unit: str = "angstrom"


@dataclass(frozen=True)
class ExportReport:
    """The written file and the checks it passed."""

    file: str
    sha256: str
    checks: list[ExportCheck]

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "sha256": self.sha256, "checks": [check.to_json() for check in self.checks]}


MACE_REFERENCE = "https://doi.org/10.48550/arXiv.2206.07697"


def export_metatomic(
    model: MaceModel,
    path: Path | str,
    metadata: ExportMetadata,
    structures: GraphSource,
    max_structures: int = 8,
    original: Original | None = None,
    uncertainties: Mapping[str, EnergyUncertainty] | None = None,
) -> ExportReport:
    """Write ``path`` (must end in ``.pt``); the model itself is not touched.

    The file is saved under another name beside ``path``, loaded by a process that knows neither this program nor
    mace-torch, and run there through ASE on up to ``max_structures`` of ``structures`` (held-out ones, if there are
    any), evenly chosen. Only when energies, forces, stress and all other outputs agree does it get its name: with those
    of ``model``, or with those of the ``original`` that ``model`` was made from.
    Energies with ``uncertainties`` get an output ``energy_uncertainty``, with the variant of the energy if it is one.
    Raises ExportRefused otherwise; then there is no new file, and an old one at ``path`` is as it was.
    """
    path = usable_path(path, ".pt", "metatomic file", structures)
    check_exportable(model, metadata)
    with FreshProcess(SCRIPT) as process:
        atomistic = build_atomistic_model(model, metadata, uncertainties)
        checks = keep_if_it_agrees(
            path,
            save=atomistic.save,
            compare=lambda file: compare_in_fresh_process(
                model, file, structures, metadata.length_unit, max_structures, original, process, uncertainties
            ),
            refusal="The exported file disagrees with the model in {labels}, so it was not kept. Report this with the "
            "table below.",
        )
    return ExportReport(path.name, sha256_of(path), checks)


def check_exportable(model: MaceModel, metadata: ExportMetadata) -> None:
    """Raise ExportRefused for what can be known before the weights, such as a missing unit; quick."""
    _capabilities(model, metadata, {})


def build_atomistic_model(
    model: MaceModel, metadata: ExportMetadata, uncertainties: Mapping[str, EnergyUncertainty] | None = None
) -> AtomisticModel:
    """The metatomic model of a copy of ``model``, its corrections merged, in memory."""
    copy = model.merged().to("cpu").eval()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ExportedModel(copy, uncertainties).eval()
        return AtomisticModel(module, _metadata(metadata), _capabilities(model, metadata, uncertainties or {}))


def _capabilities(
    model: MaceModel, metadata: ExportMetadata, uncertainties: Mapping[str, EnergyUncertainty]
) -> ModelCapabilities:
    outputs = {name: _output(model, name) for name in model.config.targets}
    for name in auxiliary_names(model.config):
        outputs[name] = ModelOutput(unit="", sample_kind="atom", explicit_gradients=[], description=describe(name))
    for target in uncertainties:
        if (uncertain := uncertainty_name(target)) is not None:
            outputs[uncertain] = _uncertainty_output(model, target)
    try:
        return ModelCapabilities(
            outputs=outputs,
            atomic_types=model.config.atomic_types,
            interaction_range=model.config.interaction_range,
            length_unit=metatomic_unit(metadata.length_unit),
            supported_devices=["cuda", "cpu"],
            dtype=str(model.dtype).removeprefix("torch."),
        )
    except (ValueError, RuntimeError) as error:
        raise ExportRefused(f"metatomic does not accept this model: {_first_line(error)}") from error


def _output(model: MaceModel, name: str) -> ModelOutput:
    info = model.config.targets[name]
    if not info.unit and needs_unit(name, info.quantity):
        raise ExportRefused(
            f"The target `{name}` has no unit, and a simulation can't use it without; give it one in the data set, "
            "for example `unit: eV`."
        )
    if info.is_energy:
        try:
            in_electronvolt(info.unit)
        except (ValueError, RuntimeError) as error:
            raise ExportRefused(
                f"`{name}` is an energy, and its unit `{info.unit}` is none; give it a unit such as `eV`."
            ) from error
    unit = file_unit(info.unit)
    description = info.description or f"{name} as predicted by MACE"
    if info.unit and not unit:
        if needs_unit(name, info.quantity):
            raise ExportRefused(
                f"The unit `{info.unit}` of `{name}` is none that simulation engines know; give it one such as `e` or "
                "`eV`, with the values in the data to match."
            )
        # A target of one's own keeps its unit in words: metatomic accepts none that it can't convert.
        description += f", in {info.unit}"
    try:
        # "atom" means that both values per atom and their sum can be asked for.
        return ModelOutput(unit=unit, sample_kind="atom", explicit_gradients=[], description=description)
    except (ValueError, RuntimeError) as error:
        raise ExportRefused(f"metatomic does not accept the target `{name}`: {_first_line(error)}") from error


def _uncertainty_output(model: MaceModel, target: str) -> ModelOutput:
    """Of structures only: those of atoms do not add up, and were never compared with errors of atoms."""
    return ModelOutput(
        unit=file_unit(model.config.targets[target].unit),
        sample_kind="system",
        explicit_gradients=[],
        description=f"Standard deviation expected of {target} (last-layer prediction rigidity)",
    )


def _metadata(metadata: ExportMetadata) -> ModelMetadata:
    references = {key: list(value) for key, value in metadata.references.items()}
    references.setdefault("architecture", [MACE_REFERENCE])
    return ModelMetadata(
        name=metadata.name,
        description=metadata.description,
        authors=list(metadata.authors),
        references=references,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
