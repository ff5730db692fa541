"""Training on the fast core follows the curve of mace-torch's own modules."""

from pathlib import Path

import pytest
from small_training import begin, prepare_clusters


def train(data, folder: Path, kernels: str) -> list[dict]:
    folder.mkdir()
    trainer, recorder = begin(data, folder, num_epochs=6, batch_size=4)
    trainer.model.backbone._asked = kernels
    assert trainer.model.backbone.kernels().name == kernels
    trainer.run()
    return recorder.records


def test_the_curves_of_both_kernels_coincide(tmp_path: Path) -> None:
    data = prepare_clusters(tmp_path)
    fast, reference = (train(data, tmp_path / kernels, kernels) for kernels in ("fast", "reference"))
    assert len(fast) == 7
    for one, two in zip(fast, reference, strict=True):
        numbers = {key: value for key, value in two.items() if isinstance(value, float)}
        for key in set(numbers) - {"seconds", "structures_per_second"}:
            assert one[key] == pytest.approx(numbers[key], rel=1e-8, abs=1e-12), (one["epoch"], key)
