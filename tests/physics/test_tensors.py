"""Tensors and spherical targets turn as their symmetry says, against rotation matrices that don't come from e3nn."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import CHARGE, Graphs, crystal, ethanol, predict, slab, small_model
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from mace_app.model import MaceModel, ModelError, fit_baseline, fit_scaler
from mace_app.options import TargetInfo
from mace_app.options.irreps import format_irreps

STRUCTURES = {"molecule": ethanol(), "crystal": crystal(), "slab": slab()}


def tensor(name: str, symmetric: bool, **more: object) -> TargetInfo:
    return TargetInfo(name, type={"cartesian": {"rank": 2, "symmetric": symmetric}}, **more)  # type: ignore[arg-type]


def spherical(name: str, *irreps: tuple[int, int, int], **more: object) -> TargetInfo:
    entries = [{"o3_lambda": degree, "o3_sigma": sigma, "num": num} for degree, sigma, num in irreps]
    return TargetInfo(name, type={"spherical": {"irreps": entries}}, **more)  # type: ignore[arg-type]


POLARIZABILITY = tensor("mtt::polarizability", True, unit="angstrom^3")
GENERAL = tensor("mtt::general", False, num_subtargets=2, sample_kind="atom")
QUADRUPOLE = spherical("mtt::quadrupole", (2, 1, 2))
MAGNETIC = spherical("mtt::magnetic", (1, -1, 1), sample_kind="atom")
SEVERAL = spherical("mtt::several", (0, 1, 2), (2, 1, 1), (1, 1, 3), num_subtargets=2)
MEAN = spherical("mtt::mean", (0, 1, 1), (2, 1, 1), aggregate="mean")
TARGETS = [POLARIZABILITY, GENERAL, QUADRUPOLE, MAGNETIC, SEVERAL, MEAN]


def real_harmonics(degree: int, directions: np.ndarray) -> np.ndarray:
    """[n, 2l+1] in the order m = −l…l, with the signs of chemistry (p_y, p_z, p_x); from scipy's complex ones."""
    x, y, z = directions.T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    columns = []
    for m in range(-degree, degree + 1):
        value = sph_harm_y(degree, abs(m), polar, azimuth) * (-1) ** abs(m)
        columns.append(value.real if m == 0 else np.sqrt(2) * (value.imag if m < 0 else value.real))
    return np.stack(columns, axis=1)


def wigner(degree: int, sigma: int, turn: np.ndarray) -> np.ndarray:
    """D with Y(R r) = D Y(r), times −σ(−1)^l… of an improper R: [2l+1, 2l+1]."""
    sign = np.linalg.det(turn)
    proper = turn * sign
    points = np.random.default_rng(0).normal(size=(40, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    before, after = real_harmonics(degree, points), real_harmonics(degree, points @ proper.T)
    matrix = np.linalg.lstsq(before, after, rcond=None)[0].T
    parity = sigma * (-1) ** degree
    return matrix * (parity if sign < 0 else 1)


def turned_label(target: TargetInfo, values: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """``values [rows, *shape]`` after the structure was turned."""
    if target.rank == 2:
        return np.einsum("ai,bj,nijp->nabp", turn, turn, values)
    flat = values.reshape(len(values), -1)
    parts = []
    for block in target.blocks:
        assert block.o3_lambda is not None and block.o3_sigma is not None
        part = flat[:, block.start : block.stop].reshape(len(values), -1, block.properties)
        parts.append(
            np.einsum("ab,nbp->nap", wigner(block.o3_lambda, block.o3_sigma, turn), part).reshape(len(values), -1)
        )
    return np.concatenate(parts, axis=1).reshape(values.shape)


def varied(model: MaceModel) -> MaceModel:
    """Baselines and scales away from 0 and 1, so that nothing below holds only for those."""
    torch.manual_seed(3)
    for name, target in model.config.targets.items():
        for block in target.blocks:
            model.scaler.property_scale(name)[:, block.start : block.stop].mul_(
                torch.rand(block.properties, dtype=torch.float64)
                .add(0.5)
                .repeat((block.stop - block.start) // block.properties)
                if len(target.blocks) > 1
                else torch.rand(block.properties, dtype=torch.float64).add(0.5)
            )
            if name in model.baseline and block.is_scalar:
                values = model.baseline.values(name)[:, block.start : block.stop]
                values.copy_(torch.randn(values.shape, dtype=torch.float64))
        model.scaler.scale(name).copy_(torch.rand(model.scaler.scale(name).shape, dtype=torch.float64) + 0.5)
    return model


@pytest.fixture(scope="module")
def model() -> MaceModel:
    return varied(small_model(TARGETS, hidden_irreps="4x0e + 4x1o + 4x1e + 4x2e", correlation=3))


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.removeprefix("mtt::"))
@pytest.mark.parametrize("name", STRUCTURES)
def test_tensors_turn_with_the_structure(model: MaceModel, name: str, target: TargetInfo, improper: bool) -> None:
    turn = Rotation.random(random_state=8).as_matrix() * (-1 if improper else 1)
    atoms = STRUCTURES[name]
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    before, after = predict(model, atoms)[target.name], predict(model, turned)[target.name]
    rows = len(atoms) if target.sample_kind == "atom" else 1
    assert before.shape == (rows, *target.shape)
    flat = before.reshape(rows, -1)
    for block in target.blocks:
        assert np.abs(flat[:, block.start : block.stop]).max() > 1e-9, "a block that is zero turns in any way"
    # Axial vectors need products of three neighbours; with random weights they are small.
    tolerance = min(1e-11, 1e-7 * float(np.abs(before).max()))
    np.testing.assert_allclose(after, turned_label(target, before, turn), rtol=0, atol=tolerance)


def test_the_symmetric_tensor_is_symmetric_and_the_general_one_is_not(model: MaceModel) -> None:
    found = predict(model, ethanol())
    alpha, general = found["mtt::polarizability"], found["mtt::general"]
    np.testing.assert_allclose(alpha, np.swapaxes(alpha, 1, 2), rtol=0, atol=1e-14)
    assert np.abs(general - np.swapaxes(general, 1, 2)).max() > 1e-6
    assert np.abs(np.trace(general, axis1=1, axis2=2)).max() > 1e-6


def test_a_tensor_of_a_linear_molecule_lies_along_its_axis(model: MaceModel) -> None:
    for axis in range(3):
        positions = np.zeros((3, 3))
        positions[:, axis] = [0.0, 1.1, 2.5]
        alpha = predict(model, Atoms("COH", positions=positions))["mtt::polarizability"][0, :, :, 0]
        along = alpha[axis, axis]
        across = np.delete(np.diag(alpha), axis)
        np.testing.assert_allclose(alpha, np.diag(np.diag(alpha)), atol=1e-12)
        np.testing.assert_allclose(across[0], across[1], atol=1e-12)
        assert abs(along - across[0]) > 1e-6


def test_a_mean_does_not_grow_with_the_structure_and_a_sum_does() -> None:
    targets = [
        TargetInfo("mtt::gap", aggregate="mean"),
        TargetInfo("mtt::total"),
        spherical("mtt::q", (2, 1, 1), aggregate="mean"),
    ]
    model = varied(small_model(targets, hidden_irreps="4x0e + 4x1o + 4x2e"))
    one = ethanol()
    far = one.copy()
    far.positions += 50.0
    single, double = predict(model, one), predict(model, one + far)
    np.testing.assert_allclose(double["mtt::gap"], single["mtt::gap"], rtol=1e-12)
    np.testing.assert_allclose(double["mtt::q"], single["mtt::q"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(double["mtt::total"], 2 * single["mtt::total"], rtol=1e-12)


def test_irreps_that_products_do_not_give_are_refused_with_those_that_would_do() -> None:
    for target, needed in ((GENERAL, "4x1e"), (QUADRUPOLE, "4x2e"), (spherical("mtt::f", (3, 1, 1)), "4x3o")):
        with pytest.raises(ModelError, match="hidden_irreps") as caught:
            small_model([CHARGE, target], hidden_irreps="4x0e + 4x1o")
        assert needed in str(caught.value), format_irreps(target.irreps)


def labelled(target: TargetInfo, structures: Sequence[Atoms], values: Sequence[np.ndarray]) -> Graphs:
    return Graphs(structures, [{target.name: value} for value in values])


def test_a_baseline_and_a_scale_of_several_irreps_keep_their_symmetry() -> None:
    """The invariant block gets a baseline, the others none; one scale for all components of an irrep."""
    target = spherical("mtt::several", (0, 1, 1), (1, 1, 1))
    model = small_model([target])
    generator = np.random.default_rng(1)
    structures = [
        ethanol(i) + (single if i % 2 else Atoms()) for i, single in enumerate([Atoms("O", [[9.0, 0, 0]])] * 6)
    ]
    planted = {1: 0.3, 6: -1.2, 8: 2.0}
    vectors = generator.normal(size=(6, 3)) * [1.0, 20.0, 3.0]
    values = []
    for atoms, vector in zip(structures, vectors, strict=True):
        invariant = sum(planted[z] for z in atoms.numbers) + 0.01 * generator.normal()
        values.append(np.array([[invariant, *vector]]))
    graphs = labelled(target, structures, values)
    fit_baseline(model.config, model.baseline, graphs)
    fit_scaler(model.config, model.scaler, model.baseline, graphs)
    baseline = model.baseline.values(target.name).numpy()
    assert not baseline[:, 1:].any()
    assert baseline[:, 0].any()
    rho = model.scaler.property_scale(target.name).numpy()[0]
    assert rho[0] < rho[1] == rho[2] == rho[3]
    sizes = np.array([len(atoms) for atoms in structures])
    scale = float(model.scaler.scale(target.name)[0])
    per_atom = vectors / sizes[:, None]
    assert scale * rho[1] == pytest.approx(np.sqrt(np.mean(per_atom**2)), rel=1e-12)


def test_the_baseline_of_a_mean_is_the_mean_of_its_elements() -> None:
    target = TargetInfo("mtt::density", aggregate="mean")
    model = small_model([target])
    planted = {1: 0.3, 6: -1.2, 8: 2.0}
    structures = [Atoms("CH4"), Atoms("H2O"), Atoms("CO2"), Atoms("O2")]
    for atoms in structures:
        atoms.positions = np.arange(3 * len(atoms)).reshape(-1, 3) * 0.8
    values = [np.array([[np.mean([planted[z] for z in atoms.numbers])]]) for atoms in structures]
    graphs = labelled(target, structures, values)
    report = fit_baseline(model.config, model.baseline, graphs)[0]
    assert report.rank == 3
    for z, value in planted.items():
        assert report.values[z][0] == pytest.approx(value, abs=1e-12)
    with torch.no_grad():
        for weight in model.heads.parameters():
            weight.zero_()
    for atoms, value in zip(structures, values, strict=True):
        np.testing.assert_allclose(predict(model, atoms)[target.name], value, atol=1e-12)
