"""Data sets and targets in metatrain's words."""

from collections.abc import Mapping
from typing import Any

from mace_app.options.datasets import DatasetOptions, paired_key
from mace_app.options.target_info import TargetInfo
from mace_app.options.targets import GradientOptions, TargetOptions
from mace_app.options.units import metatomic_unit


def unfit(target: TargetInfo) -> str | None:
    """Why metatrain's MACE can't be trained on a target from files that ASE reads; None where it can."""
    if target.kind == "cartesian" and target.rank > 1:
        return "metatrain's MACE has no tensors beyond vectors"
    if target.kind == "spherical" and len(target.blocks) > 1:
        return "metatrain reads only one irrep for a target from files like these"
    return None


def dataset_for_metatrain(
    dataset: DatasetOptions, targets: Mapping[str, TargetInfo], said: list[str]
) -> dict[str, Any]:
    """One data set; ``targets`` are those that metatrain can have, decided."""
    systems: dict[str, Any] = {"read_from": dataset.systems.read_from}
    if dataset.systems.length_unit:
        systems["length_unit"] = dataset.systems.length_unit
    written: dict[str, Any] = {"systems": systems, "targets": {}}
    for name, target in dataset.targets.items():
        if name in targets:
            written["targets"][name] = _target(name, target, targets[name], said)
    if dataset.indices is not None:
        written["indices"] = dataset.indices
    return written


def _target(name: str, target: TargetOptions, info: TargetInfo, said: list[str]) -> dict[str, Any]:
    written: dict[str, Any] = {"quantity": info.quantity, "key": target.key or name}
    if target.read_from is not None:
        written["read_from"] = target.read_from
    if target.unit:
        written["unit"] = metatomic_unit(target.unit)
        _once(said, written["unit"] != target.unit, f"The unit `{target.unit}` is spelt `{written['unit']}` there.")
    if target.description:
        written["description"] = target.description
    if target.sample_kind != "system":
        written["sample_kind"] = target.sample_kind
    if not isinstance(info.type, str):
        written["type"] = _type(info)
    if target.num_subtargets > 1:
        written["num_subtargets"] = target.num_subtargets
    _once(said, info.aggregate == "mean", f"`{name}`: metatrain adds up what atoms contribute instead of averaging it.")
    if info.is_energy:
        for kind, wanted in (("forces", info.has_forces), ("stress", info.has_stress and not target.virial)):
            written[kind] = _gradient(kind, getattr(target, kind), written["key"]) if wanted else False
        if target.virial:
            written["virial"] = _gradient("virial", target.virial, written["key"])
    return written


def _once(said: list[str], true: bool, sentence: str) -> None:
    if true and sentence not in said:
        said.append(sentence)


def _type(info: TargetInfo) -> dict[str, Any]:
    if info.kind == "cartesian":
        return {"cartesian": {"rank": info.rank}}
    assert not isinstance(info.type, str)
    known = ("o3_lambda", "o3_sigma", "num")
    irreps = [{key: irrep[key] for key in known if key in irrep} for irrep in info.type["spherical"]["irreps"]]
    return {"spherical": {"irreps": irreps}}


def _gradient(kind: str, given: GradientOptions | bool | None, energy_key: str) -> dict[str, Any]:
    """Always a mapping: a text alone would be a file to metatrain."""
    if not isinstance(given, GradientOptions):
        return {"key": paired_key(energy_key, kind)}
    written: dict[str, Any] = {"key": given.key or kind}
    if given.read_from is not None:
        written["read_from"] = given.read_from
    return written
