"""The search for the largest batch that fits: what it finds, what it leaves alone, and what a training makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import begin, folder, prepare_clusters, same

from mace_app.jobs import Suggestion
from mace_app.model import MaceModel
from mace_app.options import TrainingHypers
from mace_app.tasks.failures import smaller_batches
from mace_app.training import BatchOutOfMemory
from mace_app.training.probe import Attempt, Probe, fitting
from mace_app.training.processes import Processes


@pytest.fixture
def data(tmp_path: Path):
    return prepare_clusters(tmp_path)


@pytest.fixture
def room(monkeypatch):
    """Memory for so many structures at once; what was tried."""
    tried: list[int] = []

    def bound(structures: int) -> list[int]:
        forward = MaceModel.forward

        def limited(self, batch, labels, create_graph=False):
            tried.append(len(batch.n_atoms))
            if len(batch.n_atoms) > structures:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(self, batch, labels, create_graph)

        monkeypatch.setattr(MaceModel, "forward", limited)
        return tried

    return bound


@pytest.mark.parametrize("fits", range(13))
def test_the_largest_batch_is_found(data, tmp_path, room, fits):
    trainer, _ = begin(data, tmp_path)
    assert len(data.training) == 12
    tried = room(fits)
    seen: list[Attempt] = []
    assert Probe(trainer).largest(seen.append) == (fits, True)
    assert len(tried) <= 9
    assert [attempt.structures for attempt in seen] == [size for size in tried if size <= fits]
    assert all(attempt.seconds > 0 and attempt.atoms >= attempt.structures for attempt in seen)


@pytest.mark.parametrize("bounds", [[None, None], [None, 12]])
def test_the_heaviest_batch_is_one_that_the_training_meets(data, tmp_path, bounds):
    """Not the largest structures all together, which chance never brings into one batch."""
    trainer, _ = begin(data, tmp_path, batch_size=3, batch_atom_bounds=bounds, num_epochs=4)
    edges = data.training.n_edges
    met = [sorted(batch) for epoch in range(1, 5) for batch in trainer.order.batches(epoch)]
    chosen = Probe(trainer).heaviest(trainer.limits)
    assert sorted(chosen) in met
    assert edges[chosen].sum() == max(edges[batch].sum() for batch in met)
    trainer.state.epoch = 3
    last = [sorted(batch) for batch in trainer.order.batches(4)]
    assert sorted(Probe(trainer).heaviest(trainer.limits)) in last, "epochs that are over don't count"


def test_of_several_processes_each_tries_its_own_part(data, tmp_path):
    trainer, _ = begin(data, tmp_path, batch_size=6, num_epochs=1)
    whole = Probe(trainer).heaviest(trainer.limits)
    trainer.processes = Two()
    part = Probe(trainer).heaviest(trainer.limits)
    assert set(part) < set(whole) and len(part) == 3


class Two(Processes):
    """The first of two processes that never speak to each other."""

    size = 2

    def part(self, indices, graphs):
        return indices[::2]


def test_a_stage_to_come_is_tried_too(data, tmp_path, monkeypatch):
    """Forces are trained in stage two only, and need more memory."""
    loss = {"energy": {"weight": 1, "forces": {"weight": 0}}}
    later = {"energy": {"weight": 1, "forces": {"weight": 10}}}
    trainer, _ = begin(data, tmp_path, num_epochs=3, loss=loss, stage_two_start=2, stage_two_loss=later)
    asked: list[set[str]] = []
    forward = MaceModel.forward

    def watched(self, batch, labels, create_graph=False):
        asked.append(labels)
        if "energy.forces" in labels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, batch, labels, create_graph)

    monkeypatch.setattr(MaceModel, "forward", watched)
    with pytest.raises(BatchOutOfMemory):
        Probe(trainer).check()
    assert {"energy"} in asked and {"energy", "energy.forces"} in asked


def test_nothing_is_left_behind(data, tmp_path):
    """Weights, optimiser and random state end as without the search, bit for bit."""
    for name in ("without", "with"):
        trainer, recorder = begin(data, folder(tmp_path, name), num_epochs=2)
        trainer.probes = name == "with"
        trainer.run()
        assert any(line.startswith("The largest batch (2 structures") for line in recorder.lines) == trainer.probes
    same(tmp_path / "without" / "last.safetensors", tmp_path / "with" / "last.safetensors")


def test_a_training_that_will_not_fit_says_so_before_its_first_step(data, tmp_path, room):
    trainer, recorder = begin(data, tmp_path, batch_size=8)
    trainer.probes = True
    room(5)
    with pytest.raises(BatchOutOfMemory, match="training on a batch of 8 structures") as caught:
        trainer.run()
    error = caught.value
    assert error.fits == 5
    assert trainer.state.steps == 0
    assert recorder.records == []
    path = ("architecture", "training", "batch_size")
    hypers = TrainingHypers(batch_size=8)
    assert smaller_batches(hypers, error) == Suggestion(path, 5, 8, "Set `batch_size` to 5 (now 8)")


def test_with_a_bound_on_atoms_the_bound_is_what_is_lowered(data, tmp_path, monkeypatch):
    trainer, _ = begin(data, tmp_path, batch_size=8, batch_atom_bounds=[None, 40])
    forward = MaceModel.forward

    def limited(self, batch, labels, create_graph=False):
        if len(batch.numbers) > 21:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, batch, labels, create_graph)

    monkeypatch.setattr(MaceModel, "forward", limited)
    with pytest.raises(BatchOutOfMemory) as caught:
        Probe(trainer).check()
    assert 18 <= caught.value.fits <= 23
    suggestion = smaller_batches(TrainingHypers(batch_size=8, batch_atom_bounds=[None, 40]), caught.value)
    assert suggestion.value == [None, caught.value.fits]
    trainer, _ = begin(data, tmp_path, batch_size=8, batch_atom_bounds=suggestion.value)
    Probe(trainer).check()


def test_where_not_even_one_structure_fits_a_smaller_batch_is_no_advice(data, tmp_path, room):
    trainer, _ = begin(data, tmp_path, batch_size=8)
    room(0)
    with pytest.raises(BatchOutOfMemory) as caught:
        Probe(trainer).check()
    assert caught.value.fits == 0
    assert smaller_batches(TrainingHypers(batch_size=8), caught.value) is None


def test_another_error_is_not_taken_for_a_want_of_memory(data, tmp_path, monkeypatch):
    trainer, _ = begin(data, tmp_path)

    def fail(*arguments, **keywords):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MaceModel, "forward", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Probe(trainer).largest()


def test_on_a_cpu_a_batch_that_would_fill_the_machine_is_not_tried(data, tmp_path, monkeypatch):
    trainer, _ = begin(data, tmp_path)
    probe = Probe(trainer)
    sizes: list[int] = []

    def attempt(structures):
        sizes.append(len(structures))
        return Attempt(len(structures), 3, 6, 1.0, 2**60)

    monkeypatch.setattr(probe, "attempt", attempt)
    assert probe.largest() == (1, False)
    assert sizes == [1]


def test_memory_of_a_large_batch_is_measured(data, tmp_path):
    """64 MiB of a tensor that the model needs for a moment are seen."""
    trainer, _ = begin(data, tmp_path)
    forward = trainer.model.forward

    def greedy(*arguments, **keywords):
        kept = torch.ones(2**24)
        assert float(kept[-1]) == 1
        return forward(*arguments, **keywords)

    trainer.model.forward = greedy
    attempt = Probe(trainer).attempt(np.arange(3))
    assert attempt is not None
    assert 60 * 2**20 < attempt.memory < 200 * 2**20
    assert fitting(attempt, trainer.device).startswith("The largest batch (3 structures with ")
