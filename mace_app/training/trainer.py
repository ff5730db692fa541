"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mace_app.data import PreparedData
from mace_app.model import MaceModel, freeze, parameter_groups, trained_and_all
from mace_app.options import LossTerm, TrainingHypers
from mace_app.training.averaging import Average, ScheduleFreeAverage, WeightAverage
from mace_app.training.errors import Diverged, NonFiniteLoss
from mace_app.training.keeping import Keeper
from mace_app.training.loading import prepared_ahead, worker_count
from mace_app.training.losses import LossValue, scaled_terms
from mace_app.training.memory import BatchOutOfMemory, memory_for
from mace_app.training.metrics import reported_labels
from mace_app.training.optimiser import clip_gradients, make_optimiser
from mace_app.training.passes import PassResult, PassStopped, Ready, convert, load_ready, run_pass
from mace_app.training.precision import cost_of_precision, matmul_precision
from mace_app.training.probe import Probe, fitting
from mace_app.training.processes import Processes
from mace_app.training.progress import Clock
from mace_app.training.recorder import Recorder, Silent
from mace_app.training.repeatable import repeatable
from mace_app.training.reports import epoch_line, epoch_record
from mace_app.training.sampling import BatchLimits, EpochOrder, in_order, too_large_to_validate
from mace_app.training.schedule import Schedule
from mace_app.training.selection import is_better, monitored_value
from mace_app.training.stages import Stage
from mace_app.training.state import Best, TrainingState
from mace_app.training.watch import LOOK_EVERY

LONG_EPOCH_SECONDS = 300.0  # an epoch that takes longer is saved in between
CHECK_SECONDS = 1.0  # how often a GPU is asked whether the loss is still finite
PARITY_SECONDS = 2.0


@dataclass(frozen=True)
class TrainingResult:
    """``best_epoch`` is None when no epoch was finished (or none had a finite error). ``failure`` says why the run
    ended badly, ``reason`` why it ended before its last epoch although nothing is wrong."""

    best_epoch: int | None
    last_epoch: int
    stopped: bool
    failure: str | None = None
    reason: str | None = None


class Trainer:
    """Trains ``model`` in place on ``prepared.training`` and keeps the best epoch by ``prepared.validation``.

    An epoch is: every structure once, in an order that depends on seed and epoch only; then validation with the
    averaged weights (if there is an average), choice of the best, a step of the schedule. Errors of the training set
    are collected while the weights change, so they lag behind those of the validation set.

    The state is saved, between two steps, as one checkpoint from which training goes on bit for bit (on one machine,
    CPU, same number of threads). With ``num_epochs: 0`` the model is saved as it is. ``stage_two_loss`` is needed where
    the options have one. Raises ModelError where the model can't be frozen as the options ask, or lacks the low-rank
    corrections they ask for (``add_asked_corrections``).

    Several ``processes`` share the structures of every batch and take the same decisions; the model is the first one's,
    and only the first one tells ``recorder`` anything and writes checkpoints. All of them resume from the same file.
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
        stage_two_loss: Mapping[str, LossTerm] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.processes = Processes() if processes is None else processes
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.processes.share_state(self.model)
        self.prepared = prepared
        self.training = training
        self.recorder = recorder = recorder if self.processes.first else Silent()
        self.now = now
        self.reported = reported_labels(
            model.config.trained_targets,
            model.config.per_structure_targets,
            length_unit,
            training.log_separate_blocks,
        )
        self.stage = Stage(scaled_terms(loss, model, length_unit), self.reported)
        self._second = self.stage
        if stage_two_loss is not None:
            self._second = Stage(scaled_terms(stage_two_loss, model, length_unit), self.reported)
        self.limits = BatchLimits.of(training)
        self.workers = worker_count(training.num_workers, self.device)
        self.order = EpochOrder(prepared.training.n_atoms, self.limits, seed, training.accumulate_batches)
        freeze(self.model, training)
        groups = parameter_groups(self.model, training.weight_decay, training.backbone_learning_rate_factor)
        optimiser = make_optimiser(groups, training)
        self.weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        losses, errors = self.stage.sums(self.device)
        self.state = TrainingState(
            model=self.model,
            optimiser=optimiser,
            schedule=Schedule(optimiser, training, self._epochs_of_stage_one()),
            average=self._average(optimiser),
            losses=losses,
            errors=errors,
            gradient=self._zero(),
        )
        sizes = len(prepared.training), len(prepared.validation)
        self.clock = Clock(training.num_epochs, *sizes, recorder.progress, self.device, now)
        self.keeper = Keeper(self.state, self._header(seed, length_unit), recorder, now, self.clock.speeds)
        self.keeper.writes = self.processes.first
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._checked = self._parity_written = -math.inf
        self._check_due = True
        # On a GPU it is known at once, not after hours, whether the heaviest batch fits; a CPU has no such limit.
        self.probes = self.device.type == "cuda"

    def _average(self, optimiser: Any) -> Average | None:
        if self.training.optimizer == "schedulefree":
            return ScheduleFreeAverage(self.model, optimiser)
        return None if self.training.ema_decay is None else WeightAverage(self.model, self.training.ema_decay)

    def _zero(self) -> torch.Tensor:
        return torch.zeros((), dtype=torch.float64, device=self.device)

    def _header(self, seed: int, length_unit: str) -> dict[str, Any]:
        return {
            "config": self.model.config.to_json(),
            "precision": 32 if self.model.dtype == torch.float32 else 64,
            "length_unit": length_unit,
            "seed": seed,
            "threads": torch.get_num_threads(),
            "processes": self.processes.size,
            "training_structures": len(self.prepared.training),
            "batch_size": self.training.batch_size,
            "batch_atom_bounds": self.training.batch_atom_bounds,
            "accumulate_batches": self.training.accumulate_batches,
        }

    def run(self, resume_from: Path | None = None) -> TrainingResult:
        """Train up to ``num_epochs`` epochs in all; raises CheckpointError where ``resume_from`` doesn't fit."""
        reason = None
        stopped = False
        with repeatable(self.device):
            if resume_from is not None:
                self.keeper.load(resume_from, self._ready_for)
            try:
                reason = self._epochs()
                if self.state.steps > 0:
                    self._tell_precision()
            except PassStopped:
                stopped = True
            except (NonFiniteLoss, Diverged) as error:
                self.keeper.save_best()
                return TrainingResult(self._best_epoch, self.state.epoch, False, str(error))
            self.keeper.save(force=True)
        failure = None
        if self.state.best is None and not stopped:
            failure = (
                "No epoch had a finite error on the validation set, so there is nothing to export. Lower "
                "`learning_rate`, or look for labels that are far too large."
            )
        return TrainingResult(self._best_epoch, self.state.epoch, stopped, failure, reason)

    def _ready_for(self, header: Mapping[str, Any]) -> None:
        """Stage and sums are those a checkpoint was made with; how fast it went is known."""
        self.clock.remember(header.get("structures_per_second"))
        if header.get("stage_two") is not None:
            self.stage = self._second
            self.state.losses, self.state.errors = self.stage.sums(self.device)
            if self.training.stage_two_learning_rate is not None:
                self.state.schedule.restart(self.training.stage_two_learning_rate, self._epochs_of_stage_two())

    @property
    def _best_epoch(self) -> int | None:
        return None if self.state.best is None else self.state.best.epoch

    # Stages

    def _epochs_of_stage_one(self) -> int:
        """As many as the schedule has: all of them if it goes on in stage two."""
        start = self.training.stage_two_start
        restarts = start is not None and self.training.stage_two_learning_rate is not None
        return start - 1 if restarts and start is not None else self.training.num_epochs

    def _epochs_of_stage_two(self) -> int:
        assert self.training.stage_two_start is not None
        return self.training.num_epochs - self.training.stage_two_start + 1

    @property
    def last_epoch(self) -> int:
        """With which the run ends: earlier than asked for if stage two began earlier, because it keeps its length."""
        if self.state.stage_two is None or self.training.stage_two_start is None:
            return self.training.num_epochs
        return self.state.stage_two + self._epochs_of_stage_two() - 1

    def _begin_stage_two(self, epoch: int) -> None:
        """As in MACE: with another loss the choice of the best begins anew, and what was best is kept beside it."""
        state = self.state
        state.stage_two = epoch
        self.stage = self._second
        changes = []
        if self.training.stage_two_learning_rate is not None:
            state.schedule.restart(self.training.stage_two_learning_rate, self._epochs_of_stage_two())
            changes.append(f"learning rate {self.training.stage_two_learning_rate:g}")
        if self.training.stage_two_loss is not None:
            if state.best is not None:
                self.keeper.save_weights("stage_one", state.best.epoch, state.best.weights)
                state.best = replace(state.best, value=None)
            state.schedule.forget_losses()
            state.watch.restart()
            changes.append("its own loss")
        if state.average is not None:
            state.average.restart()
        self.recorder.log(f"Stage two begins with epoch {epoch}: {' and '.join(changes)}.")

    def _without_improvement(self) -> int:
        """Epochs since the best one of this stage."""
        begun = 0 if self.state.stage_two is None else self.state.stage_two - 1
        return self.state.epoch - max(begun, self._best_epoch or 0)

    # Epochs

    def _epochs(self) -> str | None:
        """Why it ended before the last epoch, if it did; PassStopped if that was asked for."""
        state, training = self.state, self.training
        trained, count = trained_and_all(self.model)
        if trained < count:
            self.recorder.log(f"Trains {trained:,} of {count:,} weights; the others stay as they are.")
        for warning in [*self.order.warnings(), *too_large_to_validate(self.prepared.validation.n_atoms, self.limits)]:
            self.recorder.log(f"Warning: {warning}")
        self.clock.epochs = self.last_epoch
        if self.probes and state.epoch < self.last_epoch:
            self.recorder.log(fitting(Probe(self).check(), self.device, self.processes.size))
        self._tell_precision()
        if state.epoch == 0 and state.step == 0:
            self._untrained()
        while state.epoch < self.last_epoch:
            if state.step == 0:
                patience = training.early_stopping_patience
                impatient = patience is not None and self._without_improvement() >= patience
                waits = training.stage_two_start is not None and state.stage_two is None
                if impatient and not waits:
                    return (
                        f"Ended after epoch {state.epoch} of {self.last_epoch}, because there was no new best epoch "
                        f"for {patience} epochs (`early_stopping_patience`)."
                    )
                if waits and (impatient or state.epoch + 1 == training.stage_two_start):
                    self._begin_stage_two(state.epoch + 1)
                    self.clock.epochs = self.last_epoch
            self._train_epoch()
            self._finish_epoch()
        return None

    @property
    def coming_stages(self) -> list[Stage]:
        """What is trained now, and what will be."""
        later = self.training.stage_two_start is not None and self.state.stage_two is None
        return [self.stage, self._second] if later and self._second is not self.stage else [self.stage]

    def _tell_precision(self) -> None:
        """What steps in less than full precision cost, on the first structures, with the weights of now."""
        name = self.training.matmul_precision
        if name == "float32" or not self.processes.first:
            return
        graphs = self.prepared.training
        structures = -(-self.limits.structures // self.processes.size)
        indices = next(in_order(graphs.n_atoms, structures, self.limits.most_atoms))
        try:
            with memory_for(graphs, [indices], "predicting"):
                ready = self._load(indices)
                assert ready is not None
                told = cost_of_precision(self.model, ready, self.stage.trained, name)
        except BatchOutOfMemory as error:
            told = f"What `matmul_precision: {name}` costs was not measured. {error}"
        self.recorder.log(told)

    def _untrained(self) -> None:
        """Epoch 0: the baseline alone. It is never the best one, unless no epoch is to be trained."""
        result = self._validate(0)
        if self.training.num_epochs == 0:
            self.state.best = Best(0, None, self.state.averaged_weights())
        if result is not None and result.loss.terms:
            self.state.watch.begin(result.loss.total)
        monitored = self._monitored(result)
        self._record(0, None, result, monitored, self.training.num_epochs == 0)

    def _train_epoch(self) -> None:
        """The steps of the next epoch that are not done yet; PassStopped if stopped in between."""
        state = self.state
        epoch = state.epoch + 1
        if state.step == 0:
            state.losses, state.errors = self.stage.sums(self.device)
            state.gradient = self._zero()
            state.seconds = 0.0
        steps = self.order.steps(epoch)
        graphs, begun = self.prepared.training, state.step
        ahead = (self.processes.part(indices, graphs) for step in steps[begun:] for indices in step)
        self.clock.restart()
        with closing(prepared_ahead(ahead, self._load, self.workers)) as batches:
            for step in steps[begun:]:
                stop, save, self._check_due = self.processes.decide(self._wishes)
                if stop:
                    raise PassStopped
                if save and state.step > begun:
                    self._check_finite(epoch, [])
                    self.keeper.save(force=True)
                before = self.now()
                with (
                    memory_for(graphs, (self.processes.part(indices, graphs) for indices in step), "training on"),
                    matmul_precision(self.training.matmul_precision),
                ):
                    self._step([len(indices) for indices in step], batches, epoch)
                state.step += 1
                state.steps += 1
                state.seconds += self.now() - before
                self.clock.count("training", sum(len(indices) for indices in step))
                self.clock.report(epoch, state.step, len(steps), self._best_epoch)
                if state.step % LOOK_EVERY == 0 and state.step < len(steps):
                    self._look(epoch, state.losses.summary().total, self._gradient_norm(), whole_epoch=False)
        self._check_finite(epoch, [])

    def _wishes(self) -> tuple[bool, bool, bool]:
        """Whether to stop, to save and to check the loss before the next step; what needs a clock is asked here."""
        now = self.now()
        due = self.device.type == "cpu" or now - self._checked > CHECK_SECONDS
        return self.recorder.stop_requested(), now - self.keeper.saved > LONG_EPOCH_SECONDS, due

    def _load(self, indices: np.ndarray) -> Ready | None:
        return load_ready(self.prepared.training, indices, self.model, self.stage.trained)

    def _step(self, structures: list[int], batches: Iterator[Ready | None], epoch: int) -> None:
        """One step of the optimiser with the next batches, which hold so many ``structures`` in all processes."""
        state, stage = self.state, self.stage
        state.optimiser.zero_grad(set_to_none=True)
        values = []
        for count in structures:
            ready = next(batches)
            value = physical = None
            references: dict[str, torch.Tensor] = {}
            if ready is not None:
                batch, references = ready.batch, ready.references
                predictions = self.model(batch, stage.trained_loss.labels, create_graph=True)
                value = stage.trained_loss(predictions, ready.normalised, batch)
                values.append(value)
                detached = {label: prediction.detach() for label, prediction in predictions.items()}
                physical = convert(stage.trained, batch, self.model.physical(batch, detached))
            own = state.losses.part(value), state.errors.part(physical, references)
            parts = self.processes.gathered(own)
            if value is not None:
                counts = state.losses.counts([sums for sums, _ in parts]) if len(parts) > 1 else None
                # Only what is trained: not the derivatives by edge vectors that forces were made from, nor frozen ones.
                stage.part(value, count / sum(structures), counts).backward(inputs=self.weights)
            state.losses.structures += count
            for sums, errors in parts:
                self._finite &= torch.isfinite(sums).all()
                state.losses.add(sums)
                state.errors.add(errors)
        self.processes.sum_gradients(self.weights)
        norm = clip_gradients(self.weights, self.training.grad_clip_norm)
        self._finite &= torch.isfinite(norm)
        if self._check_due:
            self._check_finite(epoch, values)
        if state.watch.untrained is None and state.steps == 0:
            state.watch.begin(state.losses.summary().total)
        state.gradient += norm.double()
        state.schedule.before_step()
        state.optimiser.step()
        if state.average is not None:
            state.average.update()

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
        gradient = self._gradient_norm()
        state.epoch, state.step = epoch, 0
        self._look(epoch, trained.loss.total, gradient, whole_epoch=True)
        state.schedule.step(result.loss.total if result is not None and result.loss.terms else trained.loss.total)
        periodic = epoch % self.training.checkpoint_interval == 0
        self.keeper.save(force=epoch == self.last_epoch or periodic)
        if periodic:
            self.keeper.save_weights(f"epoch_{epoch}", epoch, state.averaged_weights())

    def _look(self, epoch: int, loss: float, gradient: float, whole_epoch: bool) -> None:
        """Raises Diverged."""
        state = self.state
        if self.training.stop_when_diverging and state.watch.look(loss, state.steps, whole_epoch):
            assert state.watch.lowest is not None
            raise Diverged(epoch, loss, state.watch.lowest, gradient, state.schedule.learning_rate)

    def _gradient_norm(self) -> float:
        """Mean over the steps of this epoch, before clipping."""
        return float(self.state.gradient) / max(1, self.state.step)

    def _validate(self, epoch: int) -> PassResult | None:
        """None where there is nothing to validate on."""
        graphs = self.prepared.validation
        if len(graphs) == 0:
            return None
        done = 0
        steps = max(1, self.state.step)

        def on_batch(structures: int) -> None:
            nonlocal done
            if any(self.processes.decide(lambda: (self.recorder.stop_requested(),))):
                raise PassStopped
            done += structures
            self.clock.count("validation", structures)
            if epoch > 0:
                self.clock.report(epoch, steps, steps, self._best_epoch, done)

        last = epoch == self.last_epoch
        (parity,) = self.processes.decide(lambda: (last or self.now() - self._parity_written > PARITY_SECONDS,))
        parity = parity and self._logged(epoch)
        self.clock.restart()
        with self.state.average.applied() if self.state.average is not None else nullcontext():
            result = run_pass(
                self.model,
                graphs,
                self.stage.loss,
                self.reported,
                self.training.batch_size,
                parity,
                on_batch,
                most_atoms=self.limits.most_atoms,
                workers=self.workers,
                processes=self.processes,
            )
        if parity:
            self.recorder.parity(result.parity, epoch)
            self._parity_written = self.now()
        return result

    def _monitored(self, result: PassResult | None) -> float | None:
        if result is None:
            return None
        return monitored_value(self.training.best_model_metric, self.stage.loss.terms, result.loss, result.errors)

    def _logged(self, epoch: int) -> bool:
        return epoch % self.training.log_interval == 0 or epoch == self.last_epoch

    def _record(
        self, epoch: int, trained: PassResult | None, result: PassResult | None, monitored: float | None, best: bool
    ) -> None:
        if not self._logged(epoch):
            return
        record = epoch_record(
            epoch=epoch,
            step=self.state.steps,
            seconds=self.state.seconds,
            learning_rate=self.state.schedule.learning_rate,
            structures_per_second=self.clock.structures_per_second,
            trained=trained,
            validated=result,
            monitored=monitored,
            best=best,
            with_mae=self.training.log_mae,
        )
        if trained is not None:
            record["gradient_norm"] = self._gradient_norm()
        if self.training.stage_two_start is not None:
            record["stage"] = 1 if self.state.stage_two is None else 2
        self.recorder.epoch(record)
        self.recorder.log(epoch_line(record, self.reported, self.last_epoch))

    def _check_finite(self, epoch: int, values: list[LossValue]) -> None:
        """Waits for the device. Called before the step, so on a CPU the weights are still those of the step before."""
        self._checked = self.now()
        if bool(self._finite):
            return
        terms = [entry for value in values for entry in value.terms.items()]
        own = [label for label, term in terms if not bool(torch.isfinite(term.value))]
        labels = dict.fromkeys(label for found in self.processes.collect(own) for label in found)
        step = self.state.step + 1 if self.device.type == "cpu" else None
        raise NonFiniteLoss(epoch, step, self.state.schedule.learning_rate, list(labels))
