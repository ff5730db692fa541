"""Run by ``mace_releases.py`` in the Python of another release of mace-torch: models of every kind that it can build,
written as its own training writes them, and what its own calculator says of them. Nothing of ours is imported.

Arguments: a folder to write to, a file of structures. In the folder: ``KIND.model``, ``answers.npz``, ``kinds.json``
(the heads of each kind) and ``left_out.json`` (what this release can't build, and why).
"""

import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import torch  # noqa: E402
from mace import modules  # noqa: E402 — before e3nn

# isort: split
import numpy as np  # noqa: E402
from ase.io import read  # noqa: E402
from e3nn import o3  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402

FIRST, LATER = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
BASE: dict[str, Any] = {
    "r_max": 3.7,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "interaction_cls": LATER,
    "interaction_cls_first": FIRST,
    "num_interactions": 2,
    "hidden_irreps": "4x0e + 4x1o",
    "MLP_irreps": "5x0e",
    "atomic_energies": np.array([-13.6, -1028.5, -2041.25]),
    "avg_num_neighbors": 7.3,
    "atomic_numbers": [1, 6, 8],
    "correlation": 2,
    "gate": torch.nn.functional.silu,
    "radial_MLP": [8, 8],
    "atomic_inter_scale": 1.7,
    "atomic_inter_shift": 0.21,
}
TWO_HEADS: dict[str, Any] = {
    "heads": ["dft", "ccsd"],
    "atomic_energies": np.array([[-13.6, -1028.5, -2041.25], [-13.1, -1027.9, -2043.5]]),
    "atomic_inter_scale": np.array([1.7, 0.6]),
    "atomic_inter_shift": np.array([0.21, -0.4]),
}
NON_LINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
NEWEST: dict[str, Any] = {
    "interaction_cls": NON_LINEAR,
    "interaction_cls_first": NON_LINEAR,
    "readout_cls": "NonLinearBiasReadoutBlock",
    "apply_cutoff": False,
    "edge_irreps": "2x0e + 2x1o",
    "use_agnostic_product": True,
    "use_last_readout_only": True,
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
}
KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "plain": {"kind": "MACE"},
    "plain_repulsion_soft": {"kind": "MACE", "pair_repulsion": True, "distance_transform": "Soft"},
    "scale_one": {"atomic_inter_scale": 1.0, "atomic_inter_shift": 0.0},
    "agnesi_repulsion": {"pair_repulsion": True, "distance_transform": "Agnesi"},
    "two_heads": TWO_HEADS,
    "plain_two_heads": {"kind": "MACE", "heads": ["dft", "ccsd"], "atomic_energies": TWO_HEADS["atomic_energies"]},
    "three_heads": {
        "heads": ["a", "b", "c"],
        "atomic_energies": np.arange(9.0).reshape(3, 3),
        "atomic_inter_scale": np.array([1.7, 0.6, 1.0]),
        "atomic_inter_shift": np.array([0.2, -0.4, 0.0]),
        "num_interactions": 3,
    },
    "one_layer": {"num_interactions": 1},
    "one_layer_scalars": {"num_interactions": 1, "hidden_irreps": "4x0e"},
    "three_layers": {"num_interactions": 3, "correlation": [2, 1, 3], "gate": torch.tanh, "radial_type": "gaussian"},
    "chebyshev": {"radial_type": "chebyshev", "r_max": 1.9},  # its polynomials explode beyond
    "no_gate": {"gate": None},
    "gate_abs": {"gate": torch.abs},
    "scalars": {"hidden_irreps": "8x0e", "max_ell": 3, "correlation": 3},
    "to_degree_two": {"hidden_irreps": "4x0e + 4x1o + 4x2e", "correlation": 3, "max_ell": 3},
    "odd_irreps": {"hidden_irreps": "4x0e + 4x0o + 4x1o + 4x1e", "max_ell": 1},
    "full_products": {"correlation": 3, "use_reduced_cg": False},
    "elements_unordered": {"atomic_numbers": [8, 1, 6]},
    "readout_of_vectors": {"MLP_irreps": "5x0e + 3x1o"},
    "last_readout_only": {"use_last_readout_only": True},
    "agnostic_product": {"use_agnostic_product": True},
    "cutoff_after": {"apply_cutoff": False},
    "edge_irreps": {"edge_irreps": "2x0e + 2x1o"},
    "edge_irreps_first": {"edge_irreps": "2x0e + 2x1o", "use_edge_irreps_first": True},
    "rotations_only": {"use_so3": True, "hidden_irreps": "4x0e + 4x1e"},
    "keep_last": {"keep_last_layer_irreps": True},
    "newest": NEWEST,
    "newest_two_heads": NEWEST | TWO_HEADS,
    "newest_edge_first": NEWEST | {"use_edge_irreps_first": True},
} | {
    f"{first}/{later}": {"interaction_cls_first": first, "interaction_cls": later}
    for first, later in [
        (LATER, LATER),
        ("RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"),
        ("RealAgnosticDensityResidualInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"),
        (FIRST, "RealAgnosticAttResidualInteractionBlock"),
        ("RealAgnosticInteractionBlock", "RealAgnosticInteractionBlock"),
    ]
}

IN_SINGLE = ("usual", "plain", "two_heads", "agnesi_repulsion", "newest")


def build(changes: dict[str, Any], dtype: torch.dtype) -> torch.nn.Module:
    """Raises ValueError, with the reason, for what this release does not know."""
    changes = dict(changes)
    kind = getattr(modules, changes.pop("kind", "ScaleShiftMACE"))
    arguments = BASE | changes
    known = set(inspect.signature(modules.MACE.__init__).parameters)
    unknown = set(arguments) - known - {"atomic_inter_scale", "atomic_inter_shift"}
    if unknown - {"use_reduced_cg"}:
        raise ValueError(f"has no {', '.join(sorted(unknown))}")
    arguments = {name: value for name, value in arguments.items() if name not in unknown}
    if kind is modules.MACE:
        for name in ("atomic_inter_scale", "atomic_inter_shift"):
            arguments.pop(name, None)
    for name in ("hidden_irreps", "MLP_irreps", "edge_irreps"):
        if name in arguments:
            arguments[name] = o3.Irreps(arguments[name])
    for name in ("interaction_cls", "interaction_cls_first"):
        if arguments[name] not in modules.interaction_classes:
            raise ValueError(f"has no {arguments[name]}")
        arguments[name] = modules.interaction_classes[arguments[name]]
    if "readout_cls" in arguments:
        arguments["readout_cls"] = getattr(modules.blocks, arguments["readout_cls"])
    torch.set_default_dtype(dtype)
    torch.manual_seed(7)
    model: torch.nn.Module = kind(num_elements=len(arguments["atomic_numbers"]), **arguments)
    return model


def main(folder: Path, structures: list[Any]) -> None:
    written: dict[str, list[Any]] = {}
    left_out: dict[str, str] = {}
    answers: dict[str, np.ndarray] = {}
    for name, changes in KINDS.items():
        for dtype in (torch.float64, torch.float32) if name in IN_SINGLE else (torch.float64,):
            key = name.replace("/", "-") + ("" if dtype == torch.float64 else "-float32")
            try:
                model = build(changes, dtype)
                torch.save(model, folder / f"{key}.model")
                found: dict[str, np.ndarray] = {}
                for head in changes.get("heads", [None]):
                    said = ask(folder / f"{key}.model", head, structures)
                    found |= {f"{key}:{head}:{label}": values for label, values in said.items()}
            except Exception as error:  # noqa: BLE001 — whatever another release can't do is listed
                left_out[key] = f"{type(error).__name__}: {error}"[:300]
                (folder / f"{key}.model").unlink(missing_ok=True)
                continue
            answers |= found
            written[key] = changes.get("heads", [None])
    for path, head in trained(folder):
        answers |= {f"{path.stem}:{head}:{label}": v for label, v in ask(path, head, structures).items()}
        written.setdefault(path.stem, []).append(head)
    np.savez(folder / "answers.npz", allow_pickle=False, **answers)
    (folder / "kinds.json").write_text(json.dumps(written), encoding="utf-8")
    (folder / "left_out.json").write_text(json.dumps(left_out), encoding="utf-8")


def trained(folder: Path) -> list[tuple[Path, Any]]:
    """Files that the release's own training left in ``folder/trained``, with each of their heads."""
    found = []
    for path in sorted((folder / "trained").glob("*.model")):
        if path.stem.endswith("_compiled"):
            continue  # TorchScript
        model = torch.load(path, map_location="cpu", weights_only=False)
        heads = list(getattr(model, "heads", None) or [None])
        found += [(path, head if len(heads) > 1 else None) for head in heads]
    return found


def ask(path: Path, head: Any, structures: list[Any]) -> dict[str, np.ndarray]:
    torch.set_default_dtype(torch.float64)  # as calculators before 0.3.16 do
    chosen = {} if head is None else {"head": head}
    calculator = MACECalculator(str(path), device="cpu", default_dtype="float64", **chosen)
    answers = {}
    for index, atoms in enumerate(structures):
        atoms = atoms.copy()
        if head is not None:
            atoms.info["head"] = head  # where releases before 0.3.13 look for it
        atoms.calc = calculator
        answers[f"{index}:energy"] = np.array(atoms.get_potential_energy())
        answers[f"{index}:forces"] = atoms.get_forces()
        if atoms.pbc.all():
            answers[f"{index}:stress"] = atoms.get_stress(voigt=False)
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]), read(sys.argv[2], ":"))
