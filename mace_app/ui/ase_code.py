"""Lines to paste that run a downloaded model in ASE."""

import json

from mace_app.options import TargetInfo


def ase_code(file_name: str, targets: list[TargetInfo]) -> str:
    """A script that reads ``structure.xyz``, runs the model in the file and prints every target.

    It needs ``pip install metatomic-ase`` only. A variant such as ``energy/pbe`` is asked for by name; what is no
    energy is computed beside it as an additional output.
    """
    energy = next((target for target in targets if target.name.split("/")[0] == "energy"), None)
    others = [target for target in targets if target is not energy]
    lines = ["from ase.io import read", "from metatomic_ase import MetatomicCalculator"]
    if others:
        lines.append("from metatomic.torch import ModelOutput")
    lines += ["", 'atoms = read("structure.xyz")']
    if others:
        lines.append("outputs = {")
        for target in others:
            asked = f"unit={_text(target.unit)}, sample_kind={_text(target.sample_kind)}"
            lines.append(f"    {_text(target.name)}: ModelOutput({asked}),")
        lines.append("}")
    if energy is None:
        lines.append(f"calculator = MetatomicCalculator({_text(file_name)})")
        lines.append("results = calculator.run_model(atoms, outputs)")
    else:
        lines += _with_energy(file_name, energy, bool(others))
    for target in others:
        lines.append(f"for block in results[{_text(target.name)}].blocks():")
        lines.append(f"    print({_text(target.name + ':')}, block.values.detach().cpu().numpy())")
    return "\n".join(lines) + "\n"


def _with_energy(file_name: str, energy: TargetInfo, others: bool) -> list[str]:
    arguments = [_text(file_name)]
    variant = energy.name.partition("/")[2]
    if variant:
        arguments.append(f'variants={{"energy": {_text(variant)}}}')
    if others:
        arguments.append("additional_outputs=outputs")
    lines = [f"atoms.calc = MetatomicCalculator({', '.join(arguments)})", ""]
    lines.append('print("energy:", atoms.get_potential_energy(), "eV")')
    lines.append('print("forces:", atoms.get_forces(), "eV/Å")')
    if energy.has_stress:
        lines.append('print("stress:", atoms.get_stress(voigt=False), "eV/Å³")')
    if others:
        lines.append("results = atoms.calc.additional_outputs")
    return lines


def _text(value: str) -> str:
    """A Python literal in double quotes; JSON's are a subset of Python's."""
    return json.dumps(value, ensure_ascii=False)
