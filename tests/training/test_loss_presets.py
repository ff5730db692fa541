"""``weighted`` and ``universal`` against the losses of mace-torch itself, on the same predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_data import fitted, run_options, structures, whole, write
from mace.modules.loss import UniversalLoss, WeightedEnergyForcesLoss, WeightedEnergyForcesStressLoss

from mace_app.options import OptionsError, TargetInfo, TrainingHypers, resolve_loss
from mace_app.training.losses import Loss, scaled_terms

HARTREE, BOHR = 27.211386245988, 0.529177210903
LABELS = ("energy", "energy.forces", "energy.stress")


class Reference(dict):
    """What mace-torch's losses read of its batches."""

    __getattr__ = dict.__getitem__


@pytest.fixture
def compared(tmp_path):
    """``compared(preset, units…)``: our terms, and the function that gives MACE's loss of the same numbers in eV, Å."""

    def compare(preset, unit="eV", length="", weights=None):
        random = np.random.default_rng(4)
        frames = structures(random)
        for frame, size in zip(frames, (1.0, 99.0, 101.0, 201.0, 301.0), strict=True):
            # in eV/Å: every regime of the universal loss
            frame["energy.forces"] *= size / np.linalg.norm(frame["energy.forces"], axis=1, keepdims=True)
            frame["energy.stress"] *= 3
        if weights is not None:
            for frame, weight in zip(frames, weights, strict=True):
                frame["info"] = {"config_weight": weight}
        energy, distance = (HARTREE if unit == "Hartree" else 1.0), (BOHR if length == "bohr" else 1.0)
        for frame in frames:
            for power, label in ((0, "energy"), (1, "energy.forces"), (3, "energy.stress")):
                frame[label] = frame[label] / energy * distance**power
        options = run_options(write(tmp_path / "data.xyz", frames), {"loss": preset}, length, unit)
        prepared, model = fitted(options, tmp_path / "data")
        batch = whole(prepared, model)
        terms = scaled_terms(resolve_loss(options.architecture.training, model.config.targets), model, length)
        predictions = model(batch, set(terms))
        value = Loss(terms)(predictions, model.normalise_labels(batch), batch)
        physical = model.physical(batch, predictions)

        def in_ev(values):
            scaled = {
                label.rpartition(".")[2]: values[label] * energy / distance**power
                for power, label in ((0, "energy"), (1, "energy.forces"), (3, "energy.stress"))
            }
            return scaled | {"energy": scaled["energy"].squeeze(-1)}

        one = torch.ones(len(frames), dtype=torch.float64)
        reference = Reference(
            in_ev(batch.labels),
            ptr=torch.cat([torch.zeros(1), batch.n_atoms.cumsum(0)]).long(),
            weight=one if weights is None else torch.tensor(weights, dtype=torch.float64),
            energy_weight=one,
            forces_weight=one,
            stress_weight=one,
        )
        scale = (float(model.scaler.scale("energy")) * energy) ** 2
        ours = {label: float(terms[label].weight * value.terms[label].value) * scale for label in LABELS}
        return SimpleNamespace(ours=ours, reference=reference, prediction=in_ev(physical), terms=terms)

    return compare


def maces(kind, case, **weights):
    loss = kind(**weights).double()
    return float(loss(case.reference, case.prediction))


def parts(kind, case):
    """MACE's terms one at a time, with the weights 1, 100 and 1."""
    values = {"energy": 1.0, "forces": 100.0, "stress": 1.0}
    return {
        label: maces(kind, case, **{f"{name}_weight": values[name] * (name == own) for name in values})
        for label, own in zip(LABELS, values, strict=True)
    }


@pytest.mark.parametrize(
    ("preset", "kind", "unit", "length"),
    [
        ("weighted", WeightedEnergyForcesStressLoss, "eV", ""),
        ("universal", UniversalLoss, "eV", ""),
        ("universal", UniversalLoss, "Hartree", "bohr"),
    ],
)
def test_a_preset_is_maces_loss_but_for_the_square_of_the_scale(compared, preset, kind, unit, length):
    case = compared(preset, unit, length)
    theirs = parts(kind, case)
    assert case.ours == pytest.approx(theirs, rel=1e-6 if unit != "eV" else 1e-11)
    total = maces(kind, case, energy_weight=1.0, forces_weight=100.0, stress_weight=1.0)
    assert sum(case.ours.values()) == pytest.approx(total, rel=1e-6)
    assert min(theirs.values()) > 0


def test_weights_of_structures_act_as_in_maces_weighted_loss(compared):
    case = compared("weighted", weights=[0.0, 2.0, 1.0, 10.0, 0.3])
    assert case.ours == pytest.approx(parts(WeightedEnergyForcesStressLoss, case), rel=1e-11)
    without = sum(value for label, value in case.ours.items() if label != "energy.stress")
    theirs = maces(WeightedEnergyForcesLoss, case, energy_weight=1.0, forces_weight=100.0)
    assert without == pytest.approx(theirs, rel=1e-11)


def test_a_loss_in_physical_units_is_never_used_without_its_scale(compared):
    terms = resolve_loss(TrainingHypers(loss="universal"), {"energy": TargetInfo("energy", "energy", "eV")})
    with pytest.raises(ValueError, match="scaled_terms"):
        Loss(terms)


def test_targets_beside_the_energies_are_mse():
    targets = {"energy": TargetInfo("energy", "energy", "eV"), "mtt::gap": TargetInfo("mtt::gap", unit="eV")}
    term = resolve_loss(TrainingHypers(loss="universal"), targets)["mtt::gap"]
    assert (term.type, term.weight, term.physical) == ("mse", 1.0, False)


@pytest.mark.parametrize(
    ("training", "target", "word"),
    [
        ({"loss": "weighted"}, TargetInfo("mtt::gap", unit="eV"), "no target is one"),
        ({"loss": "universal"}, TargetInfo("energy", "energy", "furlong"), "how many eV `furlong` is"),
        ({"loss": "weighted", "per_structure_targets": ["energy"]}, TargetInfo("energy", "energy", "eV"), "per atom"),
    ],
)
def test_a_preset_that_would_mean_something_else_than_in_mace_is_refused(training, target, word):
    with pytest.raises(OptionsError, match=word):
        resolve_loss(TrainingHypers.model_validate(training), {target.name: target})
