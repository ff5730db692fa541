"""The browser test fills the Train form in six passes: what each types, what stood in the draft before, and what no
pass can type, with reasons."""

import copy
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from form_samples import (
    BASELINE_OF_A_FILE,
    FINE_TUNING,
    FROM_A_FILE,
    MODEL_ONE,
    MODEL_TWO,
    RUN_ONE,
    TARGETS,
    TRAINING_ONE,
    TRAINING_TWO,
)

from mace_app.options import OptionField, RunOptions, option_fields
from mace_app.options.base import Options

# Only an energy, and nothing but its key: everything else about targets is typed.
MAPPED: dict[str, Any] = {
    "energy": {"key": "energy", "forces": False, "stress": False},
    "mtt::dos": {"key": "dos", "num_subtargets": 6},
}
HEADS: dict[str, Any] = {
    "energy": TARGETS["energy"],
    "mtt::dos": TARGETS["mtt::dos"],
    "mtt::pbe": {
        "key": "energy_other",
        "unit": "eV",
        "quantity": "energy",
        "forces": False,
        "stress": False,
        "virial": {"key": "stress"},
    },
    "mtt::blocks": TARGETS["mtt::blocks"],
    "mtt::alpha": {"key": "alpha", "type": {"cartesian": {"rank": 2, "symmetric": True}}},
    "charge": TARGETS["charge"],
    "mtt::gap": {**TARGETS["mtt::gap"], "description": "of the orbitals"},
}
BUILT_IRREPS = "8x0e + 8x1o + 8x2e"
FROM_RUN, FROM_CHECKPOINT = "runs/first", "runs/first/outputs/best.safetensors"
AIMS = (
    "loss",
    "config_weights",
    "per_structure_targets",
    "energy_scale",
    "fixed_scaling_weights",
    "atomic_baseline",
    "best_model_metric",
    "log_mae",
    "log_separate_blocks",
)
FOR_32_BITS = {"matmul_precision": TRAINING_ONE["matmul_precision"]}
TYPED: dict[str, dict[str, Any]] = {
    "data and heads": {
        "training_set": [{"targets": HEADS, "extra_data": {"mtt::dos_mask": {"key": "dos_known"}}}],
        "validation_set": 0.2,
        "test_set": 0.1,
        "architecture": {"training": {"loss": {"mtt::dos": {"type": "masked_mse"}}}},
    },
    "model and run": {
        **{name: value for name, value in RUN_ONE.items() if not name.endswith("_set")},
        "architecture": {
            "atomic_types": [1, 6, 8],
            "model": MODEL_ONE,
            "training": {"loss": "mae", "fixed_scaling_weights": FROM_RUN, **FOR_32_BITS},
        },
    },
    "loop": {
        "architecture": {
            "training": {name: TRAINING_ONE[name] for name in TRAINING_ONE if name not in (*AIMS, *FOR_32_BITS)}
        }
    },
    "loss and normalisation": {"architecture": {"training": {name: TRAINING_ONE[name] for name in AIMS}}},
    "what excludes the others": {
        "architecture": {
            "model": {**MODEL_TWO, "edge_irreps": BUILT_IRREPS},
            "training": {**TRAINING_TWO, "atomic_baseline": FROM_CHECKPOINT},
        }
    },
    "from a file": {
        "architecture": {
            "model": FROM_A_FILE,
            "training": {"atomic_baseline": BASELINE_OF_A_FILE, **FINE_TUNING[1]},
        }
    },
}
_ON_DATASETS_PAGE = "it belongs to the data set and is chosen on the Datasets page"
_BESIDE_CORRECTIONS = "it is refused beside low-rank corrections, which are typed"
_YAML_ONLY = "only a YAML can say it; the form keeps it as it is"
NOT_TYPED: dict[str, str] = {
    "Architecture.name": "it has one value",
    "DatasetOptions.systems": _ON_DATASETS_PAGE,
    "SystemsOptions.read_from": _ON_DATASETS_PAGE,
    "SystemsOptions.length_unit": _ON_DATASETS_PAGE,
    "SystemsOptions.reader": "the form leaves it to the ending of the file's name",
    "DatasetOptions.indices": _YAML_ONLY,
    "IndicesOptions.indices": _YAML_ONLY,
    "TargetOptions.read_from": _YAML_ONLY,
    "GradientOptions.read_from": _YAML_ONLY,
    "LossOptions.virial": "another name of the row for the stress",
    "FineTuningHypers.freeze": _BESIDE_CORRECTIONS,
    "FineTuningHypers.freeze_layers": _BESIDE_CORRECTIONS,
    "SphericalIrreps.product": "it has one value",
}


def options_of(name: str, path: str) -> dict[str, Any]:
    """All options at the end of a pass over the structures at ``path``: what it typed, and what was there before."""
    wanted = copy.deepcopy(TYPED[name])
    (entry,) = wanted.setdefault("training_set", [before(name, path)])
    entry["systems"] = {"read_from": path, "length_unit": "angstrom"}
    model = wanted["architecture"].get("model", {})
    if "mace_model" in model:
        model["mace_model"] = foundation_beside(path)
    return wanted


def foundation_beside(path: str) -> str:
    """Where the foundation file of a pass over the structures at ``path`` lies."""
    return str(Path(path).with_name(FROM_A_FILE["mace_model"]))


def before(name: str, path: str) -> dict[str, Any]:
    """The data set that is chosen before a pass that types no targets; with a mask where its loss uses it."""
    systems = {"read_from": path, "length_unit": "angstrom"}
    entry: dict[str, Any] = {"systems": systems, "targets": copy.deepcopy(TARGETS)}
    return (
        {**entry, "extra_data": {"mtt::dos_mask": {"key": "dos_known"}}} if name == "loss and normalisation" else entry
    )


def schema_fields() -> dict[str, OptionField]:
    """Every option that is built, in all models below a run's, as ``Model.field``."""
    found: dict[str, OptionField] = {}
    waiting: list[type[Options]] = [RunOptions]
    while waiting:
        model = waiting.pop()
        for item in option_fields(model):
            name = name_of(model, item)
            if item.not_built is None and name not in found:
                found[name] = item
                waiting += models_in(item.annotation)
    return found


def name_of(model: type[Options], item: OptionField) -> str:
    """``Model.field`` with the model that declares the field."""
    declaring = next(base for base in reversed(model.__mro__) if item.name in inspect.get_annotations(base))
    return f"{declaring.__name__}.{item.name}"


def models_in(annotation: Any) -> list[type[Options]]:
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def typed_fields(model: type[Options], values: Mapping[str, Any]) -> Iterable[str]:
    """``Model.field`` for whatever a pass types; a value that is the default doesn't count."""
    for item in option_fields(model):
        if item.name not in values or values[item.name] == item.default:
            continue
        yield name_of(model, item)
        value = values[item.name]
        for inner in models_in(item.annotation):
            for part in _parts(item.annotation, inner, value):
                yield from typed_fields(inner, part)


def _parts(annotation: Any, inner: type[Options], value: Any) -> list[Mapping[str, Any]]:
    """The mappings in ``value`` that are an ``inner``: itself, or the entries of a list or of a mapping by name."""
    if isinstance(value, list):
        return [part for part in value if isinstance(part, Mapping)]
    if not isinstance(value, Mapping):
        return []
    if _by_name(annotation, inner):
        return [part for part in value.values() if isinstance(part, Mapping)]
    return [value]


def _by_name(annotation: Any, inner: type[Options]) -> bool:
    """Whether ``inner`` stands behind a name, as in ``dict[str, inner]``."""
    if get_origin(annotation) is dict:
        return inner in get_args(annotation)
    return any(_by_name(part, inner) for part in get_args(annotation))
