"""Every other option, of the run, its data and its targets, changes something, or is refused with its reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hyper_runs import ENERGY, VECTOR, Laboratory, molecules

from mace_app.data import PreparedData
from mace_app.export import ExportRefused
from mace_app.options import (
    Architecture,
    DatasetOptions,
    GradientOptions,
    IndicesOptions,
    LossOptions,
    LossPart,
    ModelHypers,
    OptionsError,
    RunOptions,
    SystemsOptions,
    TargetOptions,
    TrainingHypers,
    resolve_loss,
)
from mace_app.options.base import Options
from mace_app.options.datasets import MaskOptions
from mace_app.options.fine_tuning import FineTuningHypers
from mace_app.options.loggers import WandbOptions
from mace_app.options.loop import LoopHypers
from mace_app.options.targets import CartesianRank, CartesianType, SphericalIrrep, SphericalIrreps, SphericalType
from mace_app.tasks.errors import TaskError
from mace_app.tasks.folders import new_run
from mace_app.tasks.recorder import RunRecorder
from mace_app.tasks.setting import choose_device
from mace_app.tasks.train import _finish, _metadata, _prepare
from mace_app.training import Trainer, reported_labels

Look = Callable[[Laboratory, dict[str, Any]], Any]
GAP = {"mtt::gap": {"key": "gap"}}


def targets(entry: Any) -> dict[str, Any]:
    """Beside the energy, so that no hyperparameter of the tiny model is without effect."""
    return {"targets": {**ENERGY, **entry}}


def data(lab: Laboratory, changes: dict[str, Any]) -> PreparedData:
    """Of one data set with these entries; ``run`` holds entries of the whole run."""
    whole = dict(changes.get("run", {}))
    own = {"systems": str(lab.data), "targets": ENERGY, **{k: v for k, v in changes.items() if k != "run"}}
    return lab.prepared(lab.options({"training_set": own, "architecture": {"training": {"num_epochs": 1}}, **whole}))


def labels(lab: Laboratory, changes: dict[str, Any]) -> Any:
    """All label arrays of the training structures, with their shapes."""
    prepared = data(lab, changes)
    batch = prepared.training.collate(range(len(prepared.training)))
    return {name: (value.shape, value.tobytes()) for name, value in batch.items() if name.startswith("label:")}


def structures(lab: Laboratory, changes: dict[str, Any]) -> Any:
    prepared = data(lab, changes)
    sets = (prepared.training, prepared.validation, prepared.test)
    return [sorted(map(tuple, graphs.structure_ids.tolist())) if len(graphs) else [] for graphs in sets]


def infos(lab: Laboratory, changes: dict[str, Any]) -> Any:
    return {name: info.to_json() for name, info in data(lab, changes).targets.items()}


def units(lab: Laboratory, changes: dict[str, Any]) -> Any:
    own = {"systems": str(lab.data), "targets": ENERGY, **changes}
    options = lab.options({"training_set": own})
    prepared = lab.prepared(options)
    folder = new_run(options, lab.folder / f"units{len(list(lab.folder.iterdir()))}", "units")
    unit = options.training_set[0].systems.length_unit
    reported = reported_labels(prepared.targets, (), unit)
    return {label: entry.unit for label, entry in reported.items()}, _metadata(options, folder).length_unit


def network(lab: Laboratory, changes: dict[str, Any]) -> Any:
    model = lab.network(changes).model
    return [(name, tuple(w.shape), str(w.dtype), w.detach().numpy().tobytes()) for name, w in model.named_parameters()]


def mask(key: str) -> dict[str, Any]:
    masked = {"architecture": {"training": {"num_epochs": 1, "loss": {"mtt::gap": "masked_mse"}}}}
    return {**targets(GAP), "extra_data": {"mtt::gap_mask": {"key": key}}, "run": masked}


RICH = {"architecture": {"model": {"hidden_irreps": "2x0e + 2x1o + 2x1e + 2x2e", "correlation": 3, "max_ell": 2}}}


def tensor(cartesian: dict[str, Any]) -> dict[str, Any]:
    return {**targets({"mtt::t": {"key": "tensor", "type": {"cartesian": cartesian}}}), "run": RICH}


def spherical(*irreps: dict[str, int]) -> dict[str, Any]:
    key = "mixed" if len(irreps) > 1 else "dipole"
    return {**targets({"mtt::s": {"key": key, "type": {"spherical": {"irreps": list(irreps)}}}}), "run": RICH}


# What is compared, the options as they are, and the options with the one that is changed.
SEEN: dict[tuple[type[Options], str], tuple[Look, dict[str, Any], dict[str, Any]]] = {
    (RunOptions, "base_precision"): (network, {}, {"base_precision": 32}),
    (RunOptions, "seed"): (network, {}, {"seed": 2}),
    (RunOptions, "architecture"): (network, {}, {"architecture": {"atomic_types": [1, 6, 7, 8]}}),
    (RunOptions, "training_set"): (structures, {}, {"indices": [0, 1, 2, 4]}),
    (RunOptions, "validation_set"): (structures, {}, {"run": {"validation_set": 0.5}}),
    (RunOptions, "test_set"): (structures, {}, {"run": {"test_set": 0.25}}),
    (Architecture, "atomic_types"): (network, {}, {"architecture": {"atomic_types": [1, 6, 7, 8]}}),
    (Architecture, "model"): (network, {}, {"architecture": {"model": {"radial_MLP": [5]}}}),
    (SystemsOptions, "length_unit"): (units, {}, {"systems": {"read_from": "DATA", "length_unit": "bohr"}}),
    (SystemsOptions, "read_from"): (labels, {}, {"systems": "OTHER"}),
    (DatasetOptions, "systems"): (labels, {}, {"systems": {"read_from": "OTHER"}}),
    (DatasetOptions, "targets"): (infos, {}, targets(GAP)),
    (DatasetOptions, "extra_data"): (labels, targets(GAP), mask("gap_mask")),
    (DatasetOptions, "indices"): (structures, {}, {"indices": [0, 2, 3, 4, 7]}),
    (IndicesOptions, "indices"): (
        structures,
        {"run": {"validation_set": {"indices": [1]}}},
        {"run": {"validation_set": {"indices": [2]}}},
    ),
    (MaskOptions, "key"): (labels, mask("gap_mask"), mask("other_mask")),
    (TargetOptions, "quantity"): (infos, targets(GAP), targets({"mtt::gap": {"key": "gap", "quantity": "energy"}})),
    (TargetOptions, "key"): (labels, {}, targets({"energy": {"key": "gap", "forces": "forces"}})),
    (TargetOptions, "read_from"): (labels, targets(GAP), targets({"mtt::gap": {"key": "gap", "read_from": "OTHER"}})),
    (TargetOptions, "unit"): (units, {}, targets({"energy": {"unit": "kcal/mol"}})),
    (TargetOptions, "description"): (infos, {}, targets({"energy": {"unit": "eV", "description": "PBE"}})),
    (TargetOptions, "sample_kind"): (
        infos,
        targets(GAP),
        targets({"mtt::gap": {"key": "charge", "sample_kind": "atom"}}),
    ),
    (TargetOptions, "type"): (
        labels,
        targets({"mtt::mu": {"key": "dipole", "num_subtargets": 3}}),
        targets({"mtt::mu": {"key": "dipole", "type": VECTOR}}),
    ),
    (TargetOptions, "aggregate"): (infos, targets(GAP), targets({"mtt::gap": {"key": "gap", "aggregate": "mean"}})),
    (TargetOptions, "num_subtargets"): (
        labels,
        targets(GAP),
        targets({"mtt::gap": {"key": "dipole", "num_subtargets": 3}}),
    ),
    (TargetOptions, "forces"): (labels, {}, targets({"energy": {"unit": "eV", "forces": False}})),
    (TargetOptions, "stress"): (labels, {}, targets({"energy": {"unit": "eV", "stress": False}})),
    (TargetOptions, "virial"): (labels, {}, targets({"energy": {"unit": "eV", "virial": True}})),
    (GradientOptions, "key"): (
        labels,
        {},
        targets({"energy": {"unit": "eV", "stress": {"key": "other_stress"}}}),
    ),
    (GradientOptions, "read_from"): (labels, {}, targets({"energy": {"unit": "eV", "forces": {"read_from": "OTHER"}}})),
    (CartesianType, "cartesian"): (
        labels,
        targets({"mtt::mu": {"key": "dipole", "num_subtargets": 3}}),
        targets({"mtt::mu": {"key": "dipole", "type": VECTOR}}),
    ),
    (CartesianRank, "rank"): (
        infos,
        targets({"mtt::t": {"key": "dipole", "type": VECTOR}}),
        tensor({"rank": 2}),
    ),
    (CartesianRank, "symmetric"): (
        infos,
        tensor({"rank": 2}),
        tensor({"rank": 2, "symmetric": False}),
    ),
}


ONE = {"o3_lambda": 1, "o3_sigma": 1}
SEEN |= {
    (SphericalType, "spherical"): (infos, targets({"mtt::s": {"key": "dipole", "type": VECTOR}}), spherical(ONE)),
    (SphericalIrreps, "irreps"): (infos, spherical(ONE), spherical({"o3_lambda": 0, "o3_sigma": 1}, ONE)),
    (SphericalIrrep, "o3_lambda"): (infos, spherical(ONE), spherical({"o3_lambda": 0, "o3_sigma": 1, "num": 3})),
    (SphericalIrrep, "o3_sigma"): (infos, spherical(ONE), spherical({"o3_lambda": 1, "o3_sigma": -1})),
    (SphericalIrrep, "num"): (
        infos,
        spherical({"o3_lambda": 0, "o3_sigma": 1, "num": 3}),
        targets({"mtt::s": {"key": "gap", "type": {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}]}}}}),
    ),
}
REFUSED: dict[tuple[type[Options], str], tuple[dict[str, Any], str]] = {
    (Architecture, "name"): ({"architecture": {"name": "pet"}}, "`experimental.mace`"),
    (SystemsOptions, "reader"): (
        {"training_set": {"systems": {"read_from": "a.mts", "reader": "metatensor"}}},
        "later version",
    ),
    (SphericalIrreps, "product"): (
        {
            "training_set": {
                "systems": "a.xyz",
                "targets": {"mtt::s": {"type": {"spherical": {"irreps": [ONE], "product": "coupled"}}}},
            }
        },
        "product",
    ),
}
# Shown by a test of their own, below or in the files for model and training.
ELSEWHERE = {(RunOptions, name) for name in ("device", "print_stats", "final_eval")} | {(Architecture, "training")}
# By tests/tasks/test_loggers.py.
ELSEWHERE |= {
    (RunOptions, "tensorboard"),
    (RunOptions, "wandb"),
    *((WandbOptions, n) for n in WandbOptions.model_fields),
}
IN_OTHER_FILES = (ModelHypers, TrainingHypers, FineTuningHypers, LoopHypers, LossPart, LossOptions)


def all_options(model: type[Options] = Options) -> set[tuple[type[Options], str]]:
    found = set()
    for child in model.__subclasses__():
        found |= {(child, name) for name in child.model_fields} | all_options(child)
    return found


def test_every_option_has_its_case() -> None:
    expected = {(model, name) for model, name in all_options() if model not in IN_OTHER_FILES}
    assert expected == set(SEEN) | set(REFUSED) | ELSEWHERE


@pytest.fixture(scope="module")
def other(laboratory: Laboratory) -> str:
    """The same structures with other labels."""
    path = laboratory.folder / "other.xyz"
    path.write_text(molecules(6))
    return str(path)


def placed(value: Any, lab: Laboratory, other: str) -> Any:
    if isinstance(value, dict):
        return {key: placed(entry, lab, other) for key, entry in value.items()}
    return {"DATA": str(lab.data), "OTHER": other}.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize(("model", "name"), SEEN, ids=lambda value: getattr(value, "__name__", value))
def test_an_option_changes_what_it_is_about(laboratory: Laboratory, other: str, model: type, name: str) -> None:
    look, before, after = SEEN[model, name]
    first, second = (look(laboratory, placed(changes, laboratory, other)) for changes in (before, after))
    assert first != second


@pytest.mark.parametrize(("model", "name"), REFUSED, ids=lambda value: getattr(value, "__name__", value))
def test_an_option_that_is_not_built_is_refused(laboratory: Laboratory, model: type, name: str) -> None:
    changes, reason = REFUSED[model, name]
    with pytest.raises(OptionsError, match=reason) as caught:
        laboratory.options(changes)
    assert any(problem.loc[-1] in (name, "type") for problem in caught.value.problems)


def test_a_device_that_is_asked_for_is_taken() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TaskError, match="asks for a GPU"):
        choose_device("cuda:99")


def test_statistics_and_errors_at_the_end_can_be_left_out(laboratory: Laboratory) -> None:
    """The parts of a run around its training. The energy has no unit, so the export is refused and takes no time."""
    logs, splits = {}, {}
    for chosen in (True, False):
        options = laboratory.options(
            {"print_stats": chosen, "final_eval": chosen, "architecture": {"training": {"num_epochs": 0}}},
            {"energy": {"forces": False, "stress": False}},
        )
        run = new_run(options, laboratory.folder / f"whole_{chosen}", "whole")
        recorder = RunRecorder(run)
        run.start()
        prepared = _prepare(run, options, recorder)
        model = laboratory.model(options, prepared)
        hypers = options.architecture.training
        loss = resolve_loss(hypers, model.config.targets)
        result = Trainer(model, prepared, hypers, loss, recorder, "cpu", 1).run()
        with pytest.raises(ExportRefused):
            _finish(run, options, prepared, recorder, result, torch.device("cpu"))
        logs[chosen] = (run.path / "log.txt").read_text()
        splits[chosen] = run.report()["splits"]
    assert set(splits[True]) == {"training", "validation"} and not splits[False]
    assert "energy of 6 of 6 structures, mean" in logs[True] and "mean" in logs[True] and "mean" not in logs[False]
