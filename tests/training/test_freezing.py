"""What of a model from a file is trained, at which rate, and that the rest stays as it is."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import Memory, folder, same

from mace_app.model import LoRA, ModelError, add_asked_corrections, fit_baseline
from mace_app.model.foundation.into_model import foundation_model
from mace_app.model.foundation.source import open_foundation
from mace_app.options import TrainingHypers, resolve_loss
from mace_app.training import Trainer, load_checkpoint, load_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "foundation"))
from mace_files import build, save

BODY = ("backbone.node_embedding.", "backbone.interactions.", "backbone.products.")
FIRST_LAYER = ("backbone.node_embedding.", "backbone.interactions.0.", "backbone.products.0.")


@pytest.fixture(scope="module")
def begin(clusters, tmp_path_factory):
    """``begin(folder, **training)``: a trainer at the start of a run from a ``.model`` file, and its recorder."""
    file = save(build(r_max=3.0, max_ell=1), tmp_path_factory.mktemp("file") / "trained.model")
    built = {}

    def begin_(where, looks=None, **values):
        hypers = TrainingHypers.model_validate({"batch_size": 2, "num_epochs": 2, "num_workers": 0, **values})
        key = hypers.lora_rank, hypers.lora_alpha
        if key not in built:
            torch.manual_seed(3)
            model = foundation_model(open_foundation(file))
            model.config = replace(model.config, targets=clusters.targets)
            fit_baseline(model.config, model.baseline, clusters.training)
            add_asked_corrections(model, hypers)
            built[key] = model, {name: value.clone() for name, value in model.state_dict().items()}
        model, start = built[key]
        model.load_state_dict(start)
        model.zero_grad()
        later = None if hypers.stage_two_loss is None else resolve_loss(hypers.in_stage_two(), model.config.targets)
        loss, recorder = resolve_loss(hypers, model.config.targets), Memory(where, looks)
        return Trainer(model, clusters, hypers, loss, recorder, "cpu", 3, stage_two_loss=later), recorder

    return begin_


def weights(trainer):
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters() if weight.numel()}


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "schedulefree"])
@pytest.mark.parametrize(
    ("values", "frozen"),
    [
        ({"freeze": "backbone"}, BODY),
        ({"freeze": "layers", "weight_decay": 0.1}, FIRST_LAYER),
        ({"lora_rank": 2, "weight_decay": 0.1}, BODY),
    ],
    ids=["backbone", "layers", "lora"],
)
def test_frozen_weights_end_with_the_bits_they_began_with_and_all_others_move(
    begin, tmp_path, optimiser, values, frozen
):
    training, recorder = begin(tmp_path, optimizer=optimiser, learning_rate=0.05, **values)
    before = weights(training)
    training.run()
    ends = [weights(training), dict(load_model(tmp_path / "best.safetensors").named_parameters())]
    checkpoint = load_checkpoint(tmp_path / "last.safetensors")
    trained = {name for name in before if not name.startswith(frozen)}
    assert set(checkpoint.group("average")) == trained and 0 < len(trained) < len(before)
    for after in ends:
        changed = {name for name, weight in before.items() if not torch.equal(bits(weight), bits(after[name].detach()))}
        assert changed == trained
    counts = [sum(before[name].numel() for name in names) for names in (trained, before)]
    assert f"Trains {counts[0]:,} of {counts[1]:,} weights; the others stay as they are." in recorder.lines


def test_without_any_of_it_all_weights_are_trained_and_nothing_is_said(begin, tmp_path):
    training, recorder = begin(tmp_path)
    before = weights(training)
    training.run()
    assert [name for name, weight in weights(training).items() if torch.equal(weight, before[name])] == []
    assert not any(line.startswith("Trains") for line in recorder.lines)


OPTIONS = {
    "frozen layer and a slow backbone": {
        "freeze": "layers",
        "backbone_learning_rate_factor": 0.1,
        "lr_scheduler_patience": 0,
        "warmup_steps": 9,
    },
    "frozen backbone": {"freeze": "backbone", "optimizer": "schedulefree"},
    "corrections": {"lora_rank": 2, "lr_scheduler": "CosineAnnealingLR", "optimizer": "adamw", "weight_decay": 0.01},
    "schedule-free corrections": {"lora_rank": 3, "lora_alpha": 2.0, "optimizer": "schedulefree", "warmup_steps": 5},
    "fast backbone in two stages": {
        "backbone_learning_rate_factor": 3.0,
        "stage_two_start": 2,
        "stage_two_learning_rate": 0.001,
        "ema_decay": None,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_stopped_again_and_again_ends_with_the_bits_of_one_left_alone(begin, tmp_path, name):
    whole, _ = begin(folder(tmp_path, "whole"), **OPTIONS[name])
    expected = whole.run()
    last = folder(tmp_path, "part") / "last.safetensors"
    stops = 0
    for _ in range(60):
        part, _ = begin(tmp_path / "part", looks=5, **OPTIONS[name])
        result = part.run(last if last.exists() else None)
        if not result.stopped:
            break
        stops += 1
    assert result == expected and stops > 1
    for kind in ("last", "best"):
        same(tmp_path / "whole" / f"{kind}.safetensors", tmp_path / "part" / f"{kind}.safetensors")


def test_the_first_step_of_the_backbone_is_so_many_times_the_usual_one_and_that_of_readouts_the_usual(begin, tmp_path):
    moved = []
    for factor in (1.0, 0.25):
        training, recorder = begin(tmp_path, num_epochs=1, batch_size=12, backbone_learning_rate_factor=factor)
        before = weights(training)
        training.run()
        assert recorder.records[-1]["learning_rate"] == 0.01
        moved.append({name: weight - before[name] for name, weight in weights(training).items()})
    for name, usual in moved[0].items():
        share = 0.25 if name.startswith(BODY) else 1.0
        torch.testing.assert_close(moved[1][name], share * usual, rtol=1e-9, atol=1e-12)
        assert usual.abs().max() > 1e-4


def test_the_factor_is_that_of_corrections_too(begin, tmp_path):
    training, _ = begin(tmp_path, lora_rank=2, backbone_learning_rate_factor=0.1)
    rates = {group["name"]: group["lr"] for group in training.state.optimiser.param_groups}
    assert rates == {
        "corrections_decay": pytest.approx(0.001),
        "corrections_no_decay": pytest.approx(0.001),
        "readouts": 0.01,
    }


def test_a_run_with_corrections_begins_at_the_file_learns_and_is_found_again_in_its_checkpoint(begin, tmp_path):
    plain, as_it_was = begin(folder(tmp_path, "plain"), num_epochs=0)
    plain.run()
    training, recorder = begin(folder(tmp_path, "lora"), num_epochs=8, learning_rate=0.02, lora_rank=4, lora_alpha=4.0)
    training.run()
    first, last = recorder.records[0], recorder.records[-1]
    assert first["validation/loss"] == as_it_was.records[0]["validation/loss"]
    assert last["validation/loss"] < 0.6 * first["validation/loss"]
    found = load_model(tmp_path / "lora" / "best.safetensors")
    assert found.config.lora == LoRA(4, 4.0)
    graphs = training.prepared.validation
    batch = training._load(range(len(graphs))).batch
    one, two = found(batch, {"energy", "energy.forces"}), found.merged()(batch, {"energy", "energy.forces"})
    for label, value in one.items():
        torch.testing.assert_close(two[label], value, rtol=0, atol=1e-12)


def test_more_frozen_layers_than_there_are_is_an_error_with_their_number(begin, tmp_path):
    with pytest.raises(ModelError, match=r"`freeze_layers: 3` is more than the 2 interaction layers of this model\."):
        begin(tmp_path, freeze="layers", freeze_layers=3)
    training, _ = begin(tmp_path, freeze="layers", freeze_layers=2)
    assert {group["name"] for group in training.state.optimiser.param_groups} == {"readouts"}


def test_corrections_other_than_those_of_the_options_are_refused(begin, tmp_path):
    training, recorder = begin(tmp_path, lora_rank=2)
    for values, words in (({}, "ask for no low-rank corrections, and"), ({"lora_rank": 3}, "corrections of rank 3")):
        hypers = TrainingHypers.model_validate(values)
        with pytest.raises(ModelError, match=words):
            Trainer(training.model, training.prepared, hypers, {}, recorder, "cpu", 3)


def test_a_frozen_backbone_without_forces_is_computed_without_a_graph(begin, tmp_path):
    training, _ = begin(tmp_path, freeze="backbone")
    batch = training._load([0, 1]).batch
    features, energies = training.model.features(batch, batch.vectors)
    assert not features.requires_grad and energies.requires_grad
    free, _ = begin(tmp_path)
    assert free.model.features(batch, batch.vectors)[0].requires_grad


def test_only_what_is_trained_gets_a_gradient(begin, tmp_path):
    """Not the edge vectors either, by which forces are derivatives."""
    training, _ = begin(tmp_path, freeze="backbone", num_epochs=1, batch_size=12)
    leaves = []
    derivatives = training.model._derivatives

    def remember(name, batch, energies, vectors, *rest):
        leaves.append(vectors)
        derivatives(name, batch, energies, vectors, *rest)

    training.model._derivatives = remember
    try:
        training.run()
    finally:
        del training.model._derivatives
    assert len(leaves) > 1 and all(vectors.requires_grad and vectors.grad is None for vectors in leaves)
    with_gradient = {name for name, weight in training.model.named_parameters() if weight.grad is not None}
    assert with_gradient and all(name.startswith("backbone.readouts.") for name in with_gradient)
