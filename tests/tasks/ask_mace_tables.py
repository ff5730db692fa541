"""Run in a process of its own: what mace-torch's tables of errors say of a ``.model`` file, which executes it.

Arguments: a model, structures with energies and forces, a JSON file to write: ``metrics`` in eV and Å, and ``row``, the
numbers of the table as they are shown.
"""

import json
import logging
import sys
import warnings

from ase.io import read


def main(model_file: str, structures: str, output: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import torch
    from mace.data import AtomicData, KeySpecification, config_from_atoms
    from mace.modules import WeightedEnergyForcesLoss
    from mace.tools import AtomicNumberTable, evaluate
    from mace.tools.tables_utils import create_error_table
    from mace.tools.torch_geometric.dataloader import DataLoader

    torch.set_default_dtype(torch.float64)
    model = torch.load(model_file, map_location="cpu", weights_only=False)
    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    keys = KeySpecification({"energy": "reference_energy"}, {"forces": "reference_forces"})
    data = []
    for atoms in read(structures, ":"):
        atoms.info["reference_energy"] = atoms.get_potential_energy()
        atoms.arrays["reference_forces"] = atoms.get_forces()
        config = config_from_atoms(atoms, key_specification=keys)
        data.append(AtomicData.from_config(config, z_table=table, cutoff=float(model.r_max), heads=model.heads))

    def loader() -> DataLoader:
        return DataLoader(dataset=data, batch_size=5, shuffle=False, drop_last=False)

    loss = WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=1.0)
    outputs = {"energy": True, "forces": True, "virials": False, "stress": False, "dipoles": False}
    _, metrics = evaluate(model, loss, loader(), outputs, torch.device("cpu"))
    names = [name for name in metrics if name.split("_")[0] in ("mae", "rmse", "rel")]
    shown = create_error_table("PerAtomRMSE", {"all": loader()}, model, loss, outputs, log_wandb=False, device="cpu")
    with open(output, "w", encoding="utf-8") as stream:
        found = {name: float(metrics[name]) for name in names}
        json.dump({"metrics": found, "columns": shown.field_names[1:], "row": shown.rows[0][1:]}, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
