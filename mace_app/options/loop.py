"""How the weights are found: length of the run, batches, optimiser, schedule, stages, and when to end early."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mace_app.options.base import Options, shown, validate_each
from mace_app.options.errors import Problem, refuse
from mace_app.options.fields import option
from mace_app.options.loss import LossOptions, check_loss_type

# Which optimiser or schedule an option belongs to; with another one it has no effect.
SCHEDULE_OWNERS = {
    "lr_scheduler_gamma": "ExponentialLR",
    "lr_factor": "ReduceLROnPlateau",
    "lr_scheduler_patience": "ReduceLROnPlateau",
}
NOT_SCHEDULE_FREE = {
    "amsgrad": "it has no such variant",
    "lr_scheduler": "its learning rate stays as it is",
    **dict.fromkeys(SCHEDULE_OWNERS, "its learning rate stays as it is"),
}


class LoopHypers(Options):
    """The part of ``TrainingHypers`` that the training loop itself reads."""

    num_epochs: int = option(
        1000,
        title="Epochs",
        section="Length and batches",
        ge=0,
        le=1_000_000,
        help="How many times the whole training set is shown to the model, in total.",
        explanation=(
            "A few hundred epochs suit a thousand structures; fewer are needed the more structures there are. The best "
            "epoch is kept whatever comes after, and a run can be stopped and continued. With 0 only the baseline and "
            "the scale are fitted and exported."
        ),
    )
    batch_size: int = option(
        16,
        title="Batch size",
        section="Length and batches",
        importance="simple",
        ge=1,
        le=65536,
        help="How many structures are used for one step of the optimiser.",
        explanation=(
            "Small batches (4 to 16) take more steps per epoch and often generalise better; large ones use a GPU "
            "better and need more memory. When it is multiplied, the learning rate can usually grow too. The last "
            "batch of an epoch holds what is left over; no structure is left out."
        ),
    )
    batch_atom_bounds: list[Annotated[int, Field(ge=1)] | None] = option(
        default_factory=lambda: [None, None],
        title="Atoms in a batch",
        section="Length and batches",
        unit="atoms",
        help="Lowest and highest number of atoms in a batch; empty or null where there is no bound.",
        explanation=(
            "With structures of very different sizes, counting atoms as well as structures keeps memory even. A batch "
            "is closed before it would exceed the upper bound, in training and validation; batches below the lower one "
            "are filled up from their neighbours where both bounds and the batch size allow it. No structure is ever "
            "left out: one with more atoms than the upper bound is a batch of its own."
        ),
    )
    accumulate_batches: int = option(
        1,
        title="Batches per step",
        section="Length and batches",
        unit="batches",
        ge=1,
        le=65536,
        help="How many batches are put together into one step of the optimiser.",
        explanation=(
            "The gradients of this many batches are averaged before the weights change, so the step is that of a batch "
            "so many times larger while memory holds only one. Use it when a large batch is wanted and does not fit. "
            "The last step of an epoch takes the batches that are left over."
        ),
    )
    num_workers: int | None = option(
        None,
        title="Loading threads",
        section="Length and batches",
        unit="threads",
        ge=0,
        le=256,
        help="Threads that prepare batches ahead of the training; empty chooses by itself.",
        explanation=(
            "Neighbour lists are computed once and read from disk, so preparing a batch takes little time; one or two "
            "threads are enough to hide it from a GPU. With 0 batches are prepared in the training's own thread. The "
            "number changes nothing about the result. Empty takes up to two where the training leaves processor cores "
            "free."
        ),
    )
    matmul_precision: Literal["float32", "tf32", "bf16"] = option(
        "float32",
        title="Precision of matrix products",
        section="Length and batches",
        help="How exactly the steps of a 32 bit training multiply matrices, where the processor has something faster.",
        explanation=(
            "`tf32` rounds the factors of a product to 10 bits (GPUs of NVIDIA since Ampere), `bf16` to 7 bits (some "
            "processors, otherwise as `tf32`); sums keep 32 bits. It is faster for large models and makes gradients "
            "noisier. Validation, test and the exported model always use full precision, and the log says before the "
            "first and after the last epoch how far predictions differ."
        ),
    )
    optimizer: Literal["adam", "adamw", "schedulefree"] = option(
        "adam",
        title="Optimiser",
        section="Optimiser",
        help="The rule that turns gradients into changes of the weights.",
        explanation=(
            "Adam is what MACE was developed with. AdamW applies the weight decay separately from the gradient, which "
            "makes its effect independent of the learning rate's history. `schedulefree` (Defazio and others 2024) "
            "needs no schedule: it predicts with an average of all steps so far, so the learning rate stays as it is "
            "and neither a schedule nor weight averaging applies. All treat the groups of weights as MACE does."
        ),
    )
    learning_rate: float = option(
        0.01,
        title="Learning rate",
        section="Optimiser",
        importance="simple",
        widget="log",
        gt=0,
        le=1,
        help="The size of the steps the optimiser takes at the beginning.",
        explanation=(
            "0.01 suits small batches and models trained from scratch. If the loss jumps or becomes NaN, divide it by "
            "three to ten; if it falls very slowly, multiply it. The schedule lowers it during the run."
        ),
    )
    weight_decay: float = option(
        5e-7,
        title="Weight decay",
        section="Optimiser",
        widget="log",
        ge=0,
        le=1,
        help="How strongly weights are pulled towards zero.",
        explanation=(
            "A gentle pull keeps a model from fitting noise. Following MACE it acts on the linear maps of interactions "
            "and on product weights only, not on radial networks, readouts or added heads. Raise it a little when the "
            "validation error grows while the training error falls."
        ),
    )
    amsgrad: bool = option(
        True,
        title="AMSGrad",
        section="Optimiser",
        help="Remember the largest gradients seen, so that steps never grow back.",
        explanation=(
            "A variant of Adam that is steadier late in training. It costs one more number per weight. There is seldom "
            "a reason to turn it off. The schedule-free optimiser has no such variant."
        ),
    )
    beta: float = option(
        0.9,
        title="Momentum",
        section="Optimiser",
        ge=0,
        lt=1,
        help="How much of the previous steps' direction is kept (Adam's first beta).",
        explanation=(
            "The optimiser averages gradients over roughly 1/(1 − beta) steps. Lower values react faster and are "
            "noisier. The second beta is fixed at 0.999."
        ),
    )
    grad_clip_norm: float | None = option(
        1.0,
        title="Gradient clipping",
        section="Optimiser",
        gt=0,
        help="The longest gradient allowed; longer ones are shortened to it. Empty turns clipping off.",
        explanation=(
            "A single bad structure can produce a huge gradient that throws training off. Shortening it keeps the "
            "direction and limits the damage. The norm is taken over all weights together."
        ),
    )
    ema_decay: float | None = option(
        0.99,
        title="Weight averaging",
        section="Optimiser",
        ge=0,
        lt=1,
        help="Validate and export a running average of the weights, which forgets with this factor per step.",
        explanation=(
            "An average over roughly 1/(1 − decay) steps is less noisy than the weights themselves and usually "
            "predicts better. 0.99 is MACE's usual value, 0.999 suits long runs with many steps. Empty uses the plain "
            "weights. The schedule-free optimiser brings an average of its own instead. metatrain has no such option."
        ),
    )
    warmup_steps: int = option(
        0,
        title="Warm-up",
        section="Schedule",
        unit="steps",
        ge=0,
        le=10_000_000,
        help="Over how many first steps the learning rate rises from near zero to its value.",
        explanation=(
            "The first gradients of random weights are large and point anywhere; small steps at the beginning avoid "
            "damage. One to five epochs' worth of steps are usual for large batches and large models, none for small "
            "ones. The rise is linear, and happens once in a run."
        ),
    )
    lr_scheduler: Literal["ReduceLROnPlateau", "ExponentialLR", "CosineAnnealingLR"] = option(
        "ReduceLROnPlateau",
        title="Schedule",
        section="Schedule",
        help="How the learning rate falls during the run.",
        explanation=(
            "`ReduceLROnPlateau` lowers it when the validation loss has stopped falling, and so adapts to the data. "
            "`ExponentialLR` lowers it a little every epoch, whatever happens, which makes runs easy to compare. "
            "`CosineAnnealingLR` follows half a cosine down to a hundredth at the last epoch: gently at first and at "
            "the end; it suits a run whose length is decided. None of them applies to the schedule-free optimiser."
        ),
    )
    lr_factor: float = option(
        0.8,
        title="Factor at a plateau",
        section="Schedule",
        gt=0,
        lt=1,
        help="What the learning rate is multiplied by when the validation loss has stopped falling.",
        explanation=(
            "0.8 lowers the rate gently and often; 0.5 gives few, larger cuts. It belongs to `ReduceLROnPlateau` and "
            "is refused with the other schedules."
        ),
    )
    lr_scheduler_patience: int = option(
        50,
        title="Patience at a plateau",
        section="Schedule",
        unit="epochs",
        ge=0,
        le=100_000,
        help="How many epochs without improvement to wait before lowering the learning rate.",
        explanation=(
            "With many structures an epoch is long and 5 to 20 are enough; with few, noise needs more patience. A run "
            "shorter than this keeps its first learning rate. It belongs to `ReduceLROnPlateau`."
        ),
    )
    lr_scheduler_gamma: float = option(
        0.9993,
        title="Factor per epoch",
        section="Schedule",
        gt=0,
        le=1,
        help="What the exponential schedule multiplies the learning rate by after every epoch.",
        explanation=(
            "0.9993 halves the rate in about 1000 epochs; for a run of 100 epochs 0.97 ends at a twentieth. It belongs "
            "to `ExponentialLR` and is refused with the other schedules."
        ),
    )
    stage_two_start: int | None = option(
        None,
        title="Start of stage two",
        section="Stage two",
        unit="epoch",
        ge=2,
        le=1_000_000,
        help="The first epoch with other weights of the loss, or another learning rate, than before; empty for none.",
        explanation=(
            "MACE trains in two stages: first with most weight on forces, then, for about the last quarter of the "
            "epochs, with more weight on energies and a smaller learning rate. Optimiser and averages go on. When the "
            "loss changes, the choice of the best epoch begins anew, and the best of stage one is kept as "
            "`stage_one.safetensors` among the checkpoints."
        ),
    )
    stage_two_learning_rate: float | None = option(
        None,
        title="Learning rate of stage two",
        section="Stage two",
        widget="log",
        gt=0,
        le=1,
        help="Where the learning rate starts again in stage two; empty lets the schedule go on.",
        explanation=(
            "A tenth of the first learning rate is usual: 0.001 after 0.01. The schedule begins anew from here and has "
            "the epochs of stage two for it."
        ),
    )
    stage_two_loss: str | dict[str, LossOptions] | None = option(
        None,
        title="Loss of stage two",
        section="Stage two",
        help="What is minimised in stage two, in the grammar of `loss`; empty keeps the loss.",
        explanation=(
            "Usually the same types with far more weight on energies, for example `{energy: {weight: 100, forces: "
            "{weight: 10}}}`. It replaces `loss` as a whole: targets and terms left out count as mse with weight 1."
        ),
    )
    early_stopping_patience: int | None = option(
        None,
        title="Patience",
        section="Ending early",
        unit="epochs",
        ge=1,
        le=1_000_000,
        help="End the run after so many epochs without a new best one; empty trains all epochs.",
        explanation=(
            "What makes an epoch the best is chosen under `best_model_metric`. The number should be several times the "
            "patience of the schedule, so that the run does not end before a smaller learning rate had a chance. In "
            "stage one of a run with two stages, stage two begins instead, as in MACE, and keeps its length."
        ),
    )
    stop_when_diverging: bool = option(
        True,
        title="Stop when diverging",
        section="Ending early",
        help="End the run when its loss has been a hundred times its best for long, and keep the best epoch.",
        explanation=(
            "A learning rate that is far too high throws the weights to where no step brings them back. A run counts "
            "as diverging when the training loss was more than a hundred times its lowest, and above that of the "
            "untrained model, in five looks with few better ones between, over at least a hundred steps. A look is "
            "taken every epoch, and every 500 steps of a longer one. A loss that is not a number ends a run in any "
            "case."
        ),
    )

    @field_validator("loss", "stage_two_loss", mode="before", check_fields=False)
    @classmethod
    def _built_losses(cls, value: Any) -> Any:
        """A single type, or ``LossOptions`` for each target."""
        if value is None:
            return None
        if isinstance(value, Mapping):
            return dict(validate_each(LossOptions, ((str(target), entry) for target, entry in value.items())))
        return check_loss_type(value)

    @field_validator("batch_atom_bounds", mode="before")
    @classmethod
    def _two_bounds(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise refuse(f"`batch_atom_bounds` must be a list of two, `[lowest, highest]`; it is {shown(value)}.")
        return list(value)

    @field_validator("batch_atom_bounds", mode="after")
    @classmethod
    def _bounds_in_order(cls, value: list[int | None]) -> list[int | None]:
        lowest, highest = value
        if lowest is not None and highest is not None and lowest > highest:
            raise refuse(f"`batch_atom_bounds` must be `[lowest, highest]`; {lowest} is more than {highest}.")
        return value

    def problems(self) -> list[Problem]:
        return [*self._optimiser_problems(), *self._stage_problems(), *self._patience_problems()]

    def _optimiser_problems(self) -> list[Problem]:
        if self.optimizer != "schedulefree":
            return [
                Problem(
                    (name,),
                    f"`{name}` has no effect with `lr_scheduler: {self.lr_scheduler}`; it belongs to `{owner}`.",
                )
                for name, owner in SCHEDULE_OWNERS.items()
                if owner != self.lr_scheduler and self.changed(name)
            ]
        found = [
            Problem((name,), f"`{name}` has no effect with `optimizer: schedulefree`: {reason}. Leave it out.")
            for name, reason in NOT_SCHEDULE_FREE.items()
            if self.changed(name)
        ]
        if self.ema_decay is not None and self.changed("ema_decay"):
            found.append(
                Problem(
                    ("ema_decay",),
                    "`ema_decay` has no effect with `optimizer: schedulefree`, which predicts with an average of its "
                    "own. Leave it out.",
                )
            )
        if self.beta == 0:
            found.append(
                Problem(("beta",), "`beta: 0` leaves `optimizer: schedulefree` no average to predict with; use 0.9.")
            )
        return found

    def _stage_problems(self) -> list[Problem]:
        start = self.stage_two_start
        if start is None:
            return [
                Problem((name,), f"`{name}` has no effect without `stage_two_start`, the epoch from which it holds.")
                for name in ("stage_two_learning_rate", "stage_two_loss")
                if getattr(self, name) is not None
            ]
        found = []
        if start > self.num_epochs:
            found.append(
                Problem(
                    ("stage_two_start",),
                    f"`stage_two_start: {start}` is after the last epoch (`num_epochs: {self.num_epochs}`); use about "
                    f"{max(2, round(0.75 * self.num_epochs))}, or leave it empty.",
                )
            )
        if self.stage_two_learning_rate is None and self.stage_two_loss is None:
            found.append(
                Problem(
                    ("stage_two_start",),
                    "`stage_two_start` has no effect: nothing changes in stage two. Give `stage_two_learning_rate` or "
                    "`stage_two_loss`.",
                )
            )
        elif self.stage_two_loss is not None and self.stage_two_loss == getattr(self, "loss", None):
            found.append(
                Problem(
                    ("stage_two_loss",),
                    "`stage_two_loss` is the same as `loss`, so it has no effect; leave it empty or change a weight.",
                )
            )
        return found

    def _patience_problems(self) -> list[Problem]:
        patience = self.early_stopping_patience
        if patience is None or patience < self.num_epochs:
            return []
        return [
            Problem(
                ("early_stopping_patience",),
                f"`early_stopping_patience: {patience}` has no effect: the run has only {self.num_epochs} epochs.",
            )
        ]
