"""Data with every kind of label, and options that together change every field of the form."""

from typing import Any

MODEL_ONE: dict[str, Any] = {
    "mace_head_target": "energy/other",
    "r_max": 4.5,
    "num_radial_basis": 6,
    "radial_type": "gaussian",
    "num_cutoff_basis": 6,
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
    "hidden_irreps": "8x0e + 8x1o + 8x2e",
    "num_interactions": 3,
    "correlation": 2,
    "max_ell": 2,
    "interaction_first": "RealAgnosticInteractionBlock",
    "interaction": "RealAgnosticAttResidualInteractionBlock",
    "avg_num_neighbors": 12.5,
    "radial_MLP": [32, 16],
    "gate": "tanh",
    "MLP_irreps": "8x0e",
    "use_last_readout_only": True,
}
MODEL_TWO: dict[str, Any] = {
    "apply_cutoff": False,
    "edge_irreps": "8x0e + 8x1o",
    "use_agnostic_product": True,
    "kernels": "reference",
}
TRAINING_ONE: dict[str, Any] = {
    "num_epochs": 50,
    "batch_size": 4,
    "batch_atom_bounds": [2, 400],
    "accumulate_batches": 2,
    "num_workers": 2,
    "matmul_precision": "tf32",
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "weight_decay": 1e-6,
    "amsgrad": False,
    "beta": 0.95,
    "grad_clip_norm": None,
    "ema_decay": None,
    "warmup_steps": 10,
    "lr_factor": 0.5,
    "lr_scheduler_patience": 9,
    "stage_two_start": 30,
    "stage_two_learning_rate": 0.0005,
    "stage_two_loss": {"energy": {"weight": 1000.0}, "mtt::dipole": {"type": "mae"}},
    "early_stopping_patience": 20,
    "stop_when_diverging": False,
    "loss": {
        "energy": {
            "type": "huber",
            "weight": 2.0,
            "delta": 0.01,
            "forces": {"weight": 25.0, "reduction": "sum"},
            "stress": {"type": "mae"},
        },
        "mtt::dos": {"type": "masked_mse", "weight": 0.5},
    },
    "config_weights": {"warm": 2.5, "other": 0.0},
    "per_structure_targets": ["mtt::dos"],
    "energy_scale": "energy",
    "fixed_scaling_weights": {"mtt::dipole": 2.0, "charge": {1: 0.5, 8: 0.7}},
    "atomic_baseline": {"energy": {1: -13.6, 8: -432.1}, "energy/other": "fit", "mtt::gap": 0.0},
    "best_model_metric": "rmse_prod",
    "log_mae": False,
    "log_separate_blocks": True,
    "log_interval": 2,
    "checkpoint_interval": 7,
}
TRAINING_TWO: dict[str, Any] = {
    "lr_scheduler": "ExponentialLR",
    "lr_scheduler_gamma": 0.97,
    "scale_targets": False,
    "loss": "weighted",
    "stage_two_start": 5,
    "stage_two_loss": "universal",
    "atomic_baseline": {"energy": "isolated_atoms"},
    "batch_atom_bounds": [None, 90],
    "distributed": True,
    "distributed_port": 40000,
}
# From a foundation file, which decides the rest of the model.
FROM_A_FILE: dict[str, Any] = {
    "mace_model": "two.model",
    "mace_head_name": "ccsd",
    "more_mace_heads": {"energy/other": "dft"},
}
FINE_TUNING = (
    {"freeze": "layers", "freeze_layers": 2, "backbone_learning_rate_factor": 0.1},
    {"backbone_learning_rate_factor": 0.1, "lora_rank": 4, "lora_alpha": 2.0},
)
BASELINE_OF_A_FILE = {"energy": "estimated", "energy/other": "isolated_atoms"}
RUN_ONE: dict[str, Any] = {
    "device": "cpu",
    "base_precision": 32,
    "seed": 7,
    "validation_set": 0.2,
    "test_set": 0.1,
    "print_stats": True,
    "final_eval": False,
    "tensorboard": True,
    "wandb": {
        "project": "waters",
        "entity": "group",
        "name": "first",
        "group": "seeds",
        "tags": ["small"],
        "notes": "A note.",
    },
}
SPHERICAL = {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1, "num": 2}, {"o3_lambda": 0, "o3_sigma": 1}]}}
TARGETS: dict[str, Any] = {
    "energy": {"key": "energy", "unit": "eV", "forces": {"key": "forces"}, "stress": {"key": "stress"}},
    "energy/other": {"key": "energy_other", "unit": "eV", "forces": False, "stress": False, "description": "PBE0"},
    "charge": {"key": "charges", "unit": "e", "sample_kind": "atom"},
    "mtt::dipole": {"key": "dipole", "unit": "e*Angstrom", "type": {"cartesian": {"rank": 1}}},
    "mtt::alpha": {"key": "alpha", "type": {"cartesian": {"rank": 2, "symmetric": True}}, "quantity": "polarizability"},
    "mtt::blocks": {"key": "blocks", "type": SPHERICAL},
    "mtt::dos": {"key": "dos", "num_subtargets": 6},
    "mtt::gap": {"key": "gap", "unit": "eV", "aggregate": "mean"},
}


def from_a_file(path: str, corrected: bool = False) -> dict[str, Any]:
    """Options of a fine-tuning, with frozen layers or with ``corrected`` ones, for the structures at ``path``."""
    dataset = {"systems": {"read_from": path, "length_unit": "angstrom"}, "targets": dict(TARGETS)}
    training = {"atomic_baseline": BASELINE_OF_A_FILE, **FINE_TUNING[corrected]}
    return {"architecture": {"model": FROM_A_FILE, "training": training}, "training_set": [dataset]}


def options(one: bool, path: str) -> dict[str, Any]:
    """The first or the second set of options, for the structures at ``path``."""
    systems = {"read_from": path, "length_unit": "angstrom"}
    dataset: dict[str, Any] = {"systems": systems, "targets": dict(TARGETS)}
    if one:
        dataset["extra_data"] = {"mtt::dos_mask": {"key": "dos_known"}}
        architecture = {"atomic_types": [1, 6, 8], "model": MODEL_ONE, "training": TRAINING_ONE}
        return {**RUN_ONE, "architecture": architecture, "training_set": [dataset]}
    return {"architecture": {"model": MODEL_TWO, "training": TRAINING_TWO}, "training_set": [dataset]}


def molecules(count: int = 12) -> str:
    """Structures of three atoms with a label for each of ``TARGETS``, as extended XYZ."""
    frames = []
    for n in range(count):
        shift = 0.01 * n
        numbers = " ".join(f"{0.1 * k + shift:.3f}" for k in range(11))
        nine = f"{1 + shift} 0.1 0 0.1 1 0 0 0 {2 + shift}"
        info = (
            f'energy={-14 - shift} energy_other={-13 - 2 * shift} gap={1 + shift} dipole="0.1 0.2 {shift}" '
            f'alpha="{nine}" stress="{nine}" blocks="{numbers}" dos="1 2 3 4 5 {shift}" dos_known="1 1 1 1 1 0" '
            f'config_type={"warm" if n % 2 else "cold"} Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T"'
        )
        frames.append(
            f"3\nProperties=species:S:1:pos:R:3:forces:R:3:charges:R:1 {info}\n"
            f"O 0 0 0 0.1 0 {shift} -0.8\nH 0.96 0 {shift} -0.1 0 0 {0.4 - shift}\nC -0.24 0.93 0 0 0 {-shift} 0.4\n"
        )
    return "".join(frames)
