import numpy as np

from mace_app.evaluation.rigidity import last_layer_rigidity
from mace_app.evaluation.structure_map import principal_components


def straight_line(structures: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and the errors of a linear fit to noisy energies on the first half."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(structures, 6)) * np.linspace(1, 3, 6)
    energies = features @ np.arange(6.0) + 0.1 * random.normal(size=structures)
    half = structures // 2
    weights, *_ = np.linalg.lstsq(features[:half], energies[:half], rcond=None)
    return features, features @ weights - energies


def test_the_formula_is_that_of_the_paper_and_the_errors_fit_the_spread() -> None:
    features, errors = straight_line(2000)
    training, held_out = np.arange(2000) < 1000, np.arange(2000) >= 1000
    found = last_layer_rigidity(features, training, held_out, errors)
    assert found is not None and found.calibrated_on == 1000
    inverse = np.linalg.inv(features[training].T @ features[training] + found.regulariser * np.eye(6))
    expected = found.alpha * np.sqrt(np.einsum("si,ij,sj->s", features, inverse, features))
    np.testing.assert_allclose(found.sigma, expected, rtol=1e-9)
    ratios = (errors / found.sigma)[held_out]
    assert abs(np.mean(ratios**2) - 1) < 1e-9, "alpha is the one that makes the errors as large as expected"
    assert 0.6 < found.within_one < 0.9 and found.within_two > 0.9


def test_far_structures_are_less_certain() -> None:
    features, errors = straight_line(400)
    features[-1] *= 50
    half = np.arange(400) < 200
    found = last_layer_rigidity(features, half, ~half & (np.arange(400) < 399), errors)
    assert found is not None and found.sigma[-1] > 10 * np.median(found.sigma)


def test_there_is_none_without_enough_to_calibrate_on() -> None:
    features, errors = straight_line(10)
    half = np.arange(10) < 5
    assert last_layer_rigidity(features, half, np.full(10, False), errors) is None
    assert last_layer_rigidity(features, half, ~half, np.full(10, np.nan)) is None
    assert last_layer_rigidity(np.zeros_like(features), half, ~half, errors) is None


def test_components_have_one_sign_and_one_scale() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 5)) @ random.normal(size=(5, 5)) + 3
    found = principal_components(features)
    assert found is not None
    coordinates, explained = found
    assert explained[0] > explained[1] > 0 and sum(explained) <= 1
    for other in (features * [1, 10, 1e4, 1, 1], features[:, ::-1]):
        again = principal_components(other)
        assert again is not None
        np.testing.assert_allclose(np.abs(again[0]), np.abs(coordinates), atol=1e-10)
    turned = principal_components(features[::-1])
    assert turned is not None
    np.testing.assert_allclose(turned[0][::-1], coordinates, atol=1e-10)


def test_structures_that_are_all_alike_have_no_map() -> None:
    assert principal_components(np.ones((5, 3))) is None
    assert principal_components(np.ones((1, 3))) is None
    one = principal_components(np.arange(4.0)[:, None])
    assert one is not None and one[1] == [1.0] and not one[0][:, 1].any()
