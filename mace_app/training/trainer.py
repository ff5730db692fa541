"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mace_app.data import PreparedData
from mace_app.model import MaceModel, parameter_groups
from mace_app.options import LossTerm, TrainingHypers
from mace_app.training.averaging import WeightAverage
from mace_app.training.checkpoint import load_checkpoint, model_checkpoint, save_checkpoint
from mace_app.training.errors import CheckpointError, NonFiniteLoss
from mace_app.training.losses import Loss, LossAccumulator, LossValue, scaled_terms
from mace_app.training.metrics import ErrorAccumulator, reported_labels
from mace_app.training.optimiser import Schedule, clip_gradients, make_optimiser
from mace_app.training.passes import PassResult, PassStopped, convert, load_batch, run_pass
from mace_app.training.progress import Clock
from mace_app.training.recorder import Recorder
from mace_app.training.reports import epoch_line, epoch_record
from mace_app.training.sampling import EpochOrder
from mace_app.training.selection import is_better, monitored_value
from mace_app.training.state import Best, TrainingState

SAVE_SECONDS = 20.0  # between checkpoints that nothing else asks for; a resumed run repeats what came after
SAVE_SHARE = 0.05  # of the time may go into saving
LONG_EPOCH_SECONDS = 300.0  # an epoch that takes longer is saved in between
CHECK_SECONDS = 1.0  # how often a GPU is asked whether the loss is still finite
PARITY_SECONDS = 2.0


@dataclass(frozen=True)
class TrainingResult:
    """``best_epoch`` is None when no epoch was finished (or none had a finite error); ``failure`` says why it ended."""

    best_epoch: int | None
    last_epoch: int
    stopped: bool
    failure: str | None = None


class Trainer:
    """Trains ``model`` in place on ``prepared.training`` and keeps the best epoch by ``prepared.validation``.

    An epoch is: every structure once, in an order that depends on seed and epoch only; then validation with the
    averaged weights (if ``ema_decay`` is set), choice of the best, a step of the schedule. Errors of the training set
    are collected while the weights change, so they lag behind those of the validation set.

    The state is saved as one checkpoint from which training goes on bit for bit (on one machine, CPU, same number of
    threads). With ``num_epochs: 0`` the model is saved as it is.
    """

    def __init__(
        self,
        model: MaceModel,
        prepared: PreparedData,
        training: TrainingHypers,
        loss: Mapping[str, LossTerm],
        recorder: Recorder,
        device: torch.device | str,
        seed: int,
        length_unit: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.prepared = prepared
        self.training = training
        self.recorder = recorder
        self.seed = seed
        self.now = now
        self.loss = Loss(scaled_terms(loss, model, length_unit))
        self.length_unit = length_unit
        self.reported = reported_labels(model.config.targets, model.config.per_structure_targets, length_unit)
        self.trained = {label: self.reported[label] for label in self.loss.terms if label in self.loss.trained_labels}
        self.trained_loss = Loss({label: self.loss.terms[label] for label in self.trained})
        self.order = EpochOrder(len(prepared.training), training.batch_size, seed)
        optimiser = make_optimiser(parameter_groups(self.model, training.weight_decay), training)
        self.weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        self.state = TrainingState(
            model=self.model,
            optimiser=optimiser,
            schedule=Schedule(optimiser, training),
            average=None if training.ema_decay is None else WeightAverage(self.model, training.ema_decay),
            losses=LossAccumulator(self.trained_loss.terms, self.device),
            errors=ErrorAccumulator(self.trained, self.device),
        )
        self.clock = Clock(
            training.num_epochs,
            len(prepared.training),
            len(prepared.validation),
            recorder.progress,
            self.device,
            now,
        )
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._checked = self._saved = self._parity_written = -math.inf
        self._saving_seconds = 0.0
        self._best_on_disk: int | None = None

    def run(self, resume_from: Path | None = None) -> TrainingResult:
        """Train up to ``num_epochs`` epochs in all; raises CheckpointError where ``resume_from`` doesn't fit."""
        with repeatable(self.device):
            if resume_from is not None:
                self._resume(resume_from)
            try:
                stopped = not self._epochs()
            except NonFiniteLoss as error:
                self._save_best()
                return TrainingResult(self._best_epoch, self.state.epoch, False, str(error))
            self._save(force=True)
        failure = None
        if self.state.best is None and not stopped:
            failure = (
                "No epoch had a finite error on the validation set, so there is nothing to export. Lower "
                "`learning_rate`, or look for labels that are far too large."
            )
        return TrainingResult(self._best_epoch, self.state.epoch, stopped, failure)

    @property
    def _best_epoch(self) -> int | None:
        return None if self.state.best is None else self.state.best.epoch

    def _epochs(self) -> bool:
        """False if a stop was asked for before the last epoch was finished."""
        state = self.state
        try:
            if state.epoch == 0 and state.step == 0:
                self._untrained()
            while state.epoch < self.training.num_epochs:
                if not self._train_epoch():
                    return False
                self._finish_epoch()
        except PassStopped:
            return False
        return True

    def _untrained(self) -> None:
        """Epoch 0: the baseline alone. It is never the best one, unless no epoch is to be trained."""
        result = self._validate(0)
        if self.training.num_epochs == 0:
            self.state.best = Best(0, None, self.state.averaged_weights())
        monitored = self._monitored(result)
        self._record(0, None, result, monitored, self.training.num_epochs == 0)

    def _train_epoch(self) -> bool:
        """The steps of the next epoch that are not done yet; False if stopped in between."""
        state = self.state
        epoch = state.epoch + 1
        if state.step == 0:
            state.losses = LossAccumulator(self.trained_loss.terms, self.device)
            state.errors = ErrorAccumulator(self.trained, self.device)
            state.seconds = 0.0
        self.clock.restart()
        for indices in self.order.epoch(epoch, skip=state.step):
            if self.recorder.stop_requested():
                return False
            before = self.now()
            self._step(indices, epoch)
            state.step += 1
            state.seconds += self.now() - before
            self.clock.count("training", len(indices))
            self.clock.report(epoch, state.step, self.order.steps, self._best_epoch)
            if self.now() - self._saved > LONG_EPOCH_SECONDS and state.step < self.order.steps:
                self._check_finite(epoch, None)
                self._save(force=True)
        self._check_finite(epoch, None)
        return True

    def _step(self, indices: Any, epoch: int) -> None:
        state = self.state
        batch = load_batch(self.prepared.training, indices, self.model)
        predictions = self.model(batch, set(self.trained), create_graph=True)
        value = self.trained_loss(predictions, self.model.normalise_labels(batch), batch)
        state.optimiser.zero_grad(set_to_none=True)
        value.total.backward()
        norm = clip_gradients(self.weights, self.training.grad_clip_norm)
        self._finite &= torch.isfinite(value.total.detach()) & torch.isfinite(norm)
        if self.device.type == "cpu" or self.now() - self._checked > CHECK_SECONDS:
            self._check_finite(epoch, value)
        state.optimiser.step()
        if state.average is not None:
            state.average.update()
        state.losses.update(value, len(indices))
        detached = {label: prediction.detach() for label, prediction in predictions.items()}
        state.errors.update(
            convert(self.trained, batch, self.model.physical(batch, detached)),
            convert(self.trained, batch, batch.labels),
        )

    def _finish_epoch(self) -> None:
        state = self.state
        epoch = state.epoch + 1
        result = self._validate(epoch)
        trained = PassResult(state.losses.summary(), state.errors.errors())
        monitored = self._monitored(result)
        best = state.best.value if state.best is not None else None
        is_best = monitored is None or is_better(monitored, best)
        if is_best:
            state.best = Best(epoch, monitored, state.averaged_weights())
        self._record(epoch, trained, result, monitored, is_best)
        state.schedule.step(result.loss.total if result is not None and result.errors else trained.loss.total)
        state.epoch, state.step = epoch, 0
        last = epoch == self.training.num_epochs
        periodic = epoch % self.training.checkpoint_interval == 0
        self._save(force=last or periodic)
        if periodic:
            self._save_weights(f"epoch_{epoch}", epoch, state.averaged_weights())

    def _validate(self, epoch: int) -> PassResult | None:
        """None where there is nothing to validate on."""
        graphs = self.prepared.validation
        if len(graphs) == 0:
            return None
        done = 0

        def on_batch(structures: int) -> None:
            nonlocal done
            if self.recorder.stop_requested():
                raise PassStopped
            done += structures
            self.clock.count("validation", structures)
            if epoch > 0:
                self.clock.report(epoch, self.order.steps, self.order.steps, self._best_epoch, done)

        last = epoch == self.training.num_epochs
        parity = last or (self._logged(epoch) and self.now() - self._parity_written > PARITY_SECONDS)
        self.clock.restart()
        with self.state.average.applied() if self.state.average is not None else nullcontext():
            result = run_pass(self.model, graphs, self.loss, self.reported, self.training.batch_size, parity, on_batch)
        if parity:
            self.recorder.parity(result.parity, epoch)
            self._parity_written = self.now()
        return result

    def _monitored(self, result: PassResult | None) -> float | None:
        if result is None:
            return None
        return monitored_value(self.training.best_model_metric, self.loss.terms, result.loss, result.errors)

    def _logged(self, epoch: int) -> bool:
        return epoch % self.training.log_interval == 0 or epoch == self.training.num_epochs

    def _record(
        self, epoch: int, trained: PassResult | None, result: PassResult | None, monitored: float | None, best: bool
    ) -> None:
        if not self._logged(epoch):
            return
        record = epoch_record(
            epoch=epoch,
            step=epoch * self.order.steps,
            seconds=self.state.seconds,
            learning_rate=self.state.schedule.learning_rate,
            structures_per_second=self.clock.structures_per_second,
            trained=trained,
            validated=result,
            monitored=monitored,
            best=best,
            with_mae=self.training.log_mae,
        )
        self.recorder.epoch(record)
        self.recorder.log(epoch_line(record, self.reported, self.training.num_epochs))

    def _check_finite(self, epoch: int, value: LossValue | None) -> None:
        """Waits for the device. Called before the step, so on a CPU the weights are still those of the step before."""
        self._checked = self.now()
        if bool(self._finite):
            return
        labels = []
        if value is not None:
            labels = [label for label, term in value.terms.items() if not bool(torch.isfinite(term.value))]
        step = self.state.step + 1 if self.device.type == "cpu" else None
        raise NonFiniteLoss(epoch, step, self.state.schedule.learning_rate, labels)

    def _header(self) -> dict[str, Any]:
        return {
            "config": self.model.config.to_json(),
            "precision": 32 if self.model.dtype == torch.float32 else 64,
            "length_unit": self.length_unit,
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "training_structures": len(self.prepared.training),
            "batch_size": self.order.batch_size,
            "steps": self.order.steps,
        }

    def _save(self, force: bool = False) -> None:
        start = self.now()
        wait = min(SAVE_SECONDS, self._saving_seconds / SAVE_SHARE)
        if not force and start - self._saved < wait:
            return
        save_checkpoint(self.recorder.checkpoint_path("last"), self.state.to_checkpoint(self._header()))
        self._save_best()
        self._saved = self.now()
        self._saving_seconds = self._saved - start

    def _save_best(self) -> None:
        best = self.state.best
        if best is not None and self._best_on_disk != best.epoch:
            self._save_weights("best", best.epoch, best.weights)
            self._best_on_disk = best.epoch

    def _save_weights(self, kind: str, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        header = {key: value for key, value in self._header().items() if key not in ("config", "precision")}
        checkpoint = model_checkpoint(
            self.model.config,
            self._header()["precision"],
            {**self.model.state_dict(), **weights},
            kind="best" if kind == "best" else "periodic",
            epoch=epoch,
            **header,
        )
        save_checkpoint(self.recorder.checkpoint_path(kind), checkpoint)

    def _resume(self, path: Path) -> None:
        checkpoint = load_checkpoint(path)
        own = self._header()
        for key, what in (
            ("training_structures", "training structures"),
            ("seed", "seed"),
            ("batch_size", "batch size"),
        ):
            if checkpoint.header.get(key) != own[key]:
                raise CheckpointError(
                    f"{path} was made with another {what} ({checkpoint.header.get(key)}, now {own[key]}), so the "
                    "training can't go on exactly. Put back the data and options, or start a new run."
                )
        self.state.restore(checkpoint)
        if checkpoint.header.get("threads") != own["threads"]:
            self.recorder.log(
                f"The checkpoint was made with {checkpoint.header.get('threads')} threads, now there are "
                f"{own['threads']}: the last digits may differ from those of an uninterrupted run."
            )
        place = f"epoch {self.state.epoch}" + (f", step {self.state.step}" if self.state.step else "")
        self.recorder.log(f"Resumed after {place}.")


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On the CPU, only operations that give the same bits every time; on a GPU they would cost speed."""
    before = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
