"""The hyperparameters of training, under ``architecture.training``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from mace_app.options.base import Options, shown, validate_each
from mace_app.options.errors import Problem, refuse
from mace_app.options.fields import option
from mace_app.options.loss import LossOptions, check_loss_type
from mace_app.options.normalisation import CHECKPOINT, PER_ELEMENT, Baseline, Scaling


class TrainingHypers(Options):
    """Every trainer hyperparameter of ``experimental.mace``, and two of our own (``ema_decay``, ``energy_scale``)."""

    hints: ClassVar[dict[str, str]] = {
        "finetune": "fine-tuning a trained model is not built yet.",
        "max_atoms_per_batch": "the limit on atoms in a batch is `batch_atom_bounds: [null, N]` (not built yet).",
        "min_atoms_per_batch": "the limit on atoms in a batch is `batch_atom_bounds: [N, null]` (not built yet).",
        "lr": "it is called `learning_rate`.",
        "max_num_epochs": "it is called `num_epochs`.",
        "epochs": "it is called `num_epochs`.",
        "scheduler": "it is called `lr_scheduler`.",
        "scheduler_patience": "it is called `lr_scheduler_patience`.",
        "clip_grad": "it is called `grad_clip_norm`.",
        "ema": "give `ema_decay`, or `ema_decay: null` for none.",
        "E0s": "energies of single atoms are given as `atomic_baseline: {energy: {1: -13.6}}`.",
        "energy_weight": "weights are given as `loss: {energy: {weight: 1, forces: {weight: 10}}}`.",
        "forces_weight": "weights are given as `loss: {energy: {weight: 1, forces: {weight: 10}}}`.",
        "stress_weight": "weights are given as `loss: {energy: {stress: {weight: 1}}}`.",
        "seed": "it belongs at the top level, beside `training_set`.",
        "device": "it belongs at the top level, beside `training_set`.",
        "r_max": "it belongs under `architecture.model`.",
    }

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
        help="Lowest and highest number of atoms in a batch.",
        explanation=(
            "With structures of very different sizes, counting atoms instead of structures keeps memory even. An upper "
            "bound closes a batch before it grows too large. Validation structures are never left out."
        ),
        not_built="packing batches by atoms comes with a later version.",
    )
    num_workers: int | None = option(
        None,
        title="Loading processes",
        section="Length and batches",
        ge=0,
        le=256,
        help="Processes that prepare batches beside the training; empty chooses by itself.",
        explanation=(
            "Neighbour lists are computed once and read from disk, so preparing a batch takes little time and needs no "
            "helpers. Both empty and 0 prepare batches in the training process."
        ),
        not_built_values={"any number above 0": "batches are prepared in the training process."},
    )
    optimizer: Literal["adam", "adamw", "schedulefree"] = option(
        "adam",
        title="Optimiser",
        section="Optimiser",
        help="The rule that turns gradients into changes of the weights.",
        explanation=(
            "Adam is what MACE was developed with. AdamW applies the weight decay separately from the gradient, which "
            "makes its effect independent of the learning rate's history. Both treat the groups of weights as MACE "
            "does."
        ),
        not_built_values={"schedulefree": "it needs a package of its own and a loop that switches its modes."},
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
            "a reason to turn it off."
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
            "weights. metatrain has no such option."
        ),
    )
    lr_scheduler: Literal["ReduceLROnPlateau", "ExponentialLR"] = option(
        "ReduceLROnPlateau",
        title="Schedule",
        section="Schedule",
        help="How the learning rate falls during the run.",
        explanation=(
            "`ReduceLROnPlateau` lowers it when the validation loss has stopped falling, and so adapts to the data. "
            "`ExponentialLR` lowers it a little every epoch, whatever happens, which makes runs easy to compare."
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
            "is refused with the exponential schedule."
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
            "to `ExponentialLR` and is refused with the plateau schedule."
        ),
    )
    loss: str | dict[str, LossOptions] = option(
        "mse",
        title="Loss",
        section="Loss",
        importance="simple",
        help=(
            "What is minimised: one type for everything, or type and weight for each target and its forces and stress."
        ),
        explanation=(
            "`mse` treats everything alike. For potentials that shall run dynamics, more weight on forces usually "
            "helps: `{energy: {weight: 1, forces: {weight: 10}}}`. All values are divided by a typical size first, so "
            "weights compare like with like. Targets and terms left out count as mse with weight 1."
        ),
    )
    per_structure_targets: list[str] = option(
        default_factory=list,
        title="Targets not divided by atoms",
        section="Loss",
        help="Targets whose loss and errors are taken per structure instead of per atom.",
        explanation=(
            "A total energy grows with the number of atoms, so its error is divided by it. A band gap or another "
            "property of the whole structure shouldn't be; name it here."
        ),
    )
    scale_targets: bool = option(
        True,
        title="Normalise targets",
        section="Normalisation",
        help="Divide every target by its typical size before the loss is computed.",
        explanation=(
            "A network learns best when its outputs are near one. The scale is measured on the training set after the "
            "baseline is removed, stored in the model and undone in its predictions. Off, the model has to learn plain "
            "numbers in the units of the data."
        ),
    )
    energy_scale: Literal["auto", "forces", "energy"] = option(
        "auto",
        title="Scale of energies",
        section="Normalisation",
        help="What an energy and its forces are divided by: the typical force, or the typical energy per atom.",
        explanation=(
            "`forces` uses the root mean square of all force components, MACE's way; `energy` that of the energy per "
            "atom after the baseline is removed, metatrain's way. `auto` takes the forces when they are trained. The "
            "two can differ a lot, and with them the balance of the loss."
        ),
    )
    fixed_scaling_weights: Scaling = option(
        default_factory=dict,
        title="Fixed scales",
        section="Normalisation",
        help="Scales given by you instead of measured, one number for each target.",
        explanation=(
            "Useful to repeat another run exactly or to compare runs on different data. `{energy: 0.5}` divides "
            "energies per atom and forces by 0.5 in their units. Targets not named are measured."
        ),
        not_built_values={"a weight for each element": PER_ELEMENT, "the path of a checkpoint": CHECKPOINT},
    )
    atomic_baseline: Baseline = option(
        default_factory=dict,
        title="Energies of single atoms",
        section="Normalisation",
        help="What each element contributes before the network adds its part; fitted unless given.",
        explanation=(
            "Most of a total energy is a sum over atoms that no network should have to learn. Isolated atoms found in "
            "the data are used, otherwise a least-squares fit. Give `{energy: {1: -13.6, 8: -432.1}}` to fix some or "
            "all elements; the others are fitted around them. A single number holds for every element, and 0 turns it "
            "off."
        ),
        not_built_values={"the path of a checkpoint": CHECKPOINT},
    )
    best_model_metric: Literal["weighted_mae", "rmse_prod", "mae_prod", "loss"] = option(
        "weighted_mae",
        title="What makes an epoch the best",
        section="Choosing and logging",
        help="The number on the validation set that decides which epoch is exported.",
        explanation=(
            "`weighted_mae` adds the normalised mean absolute errors with the weights of the loss, `loss` takes the "
            "validation loss. The products multiply all errors, as metatrain does (`mae_prod` is its default): one "
            "error near zero then hides the others."
        ),
    )
    log_mae: bool = option(
        True,
        title="Report mean absolute errors",
        section="Choosing and logging",
        help="Write the MAE beside the RMSE for every target.",
        explanation=(
            "Both are cheap and tell different things: an RMSE far above the MAE points to outliers. It must stay on "
            "while the best epoch is chosen by mean absolute errors."
        ),
    )
    log_separate_blocks: bool = option(
        False,
        title="Errors of each irrep",
        section="Choosing and logging",
        help="Report the error of each irrep of a spherical target separately.",
        explanation="It concerns spherical targets with several irreps. For scalars and vectors there is only one.",
        not_built="spherical targets come with a later version.",
    )
    log_interval: int = option(
        1,
        title="Log every",
        section="Choosing and logging",
        unit="epochs",
        ge=1,
        le=100_000,
        help="How often errors are written down and drawn.",
        explanation=(
            "Every epoch is fine unless epochs take less than a second and there are thousands of them. Validation "
            "runs every epoch in any case, since the schedule and the best epoch depend on it."
        ),
    )
    checkpoint_interval: int = option(
        100,
        title="Checkpoint every",
        section="Choosing and logging",
        unit="epochs",
        ge=1,
        le=100_000,
        help="How often a copy of the weights is kept under the number of its epoch.",
        explanation=(
            "The state to continue from, and the best epoch, are saved all the time (after every epoch, or about three "
            "times a minute where epochs are short), so little is lost in a crash. The copies let you go back to an "
            "earlier epoch; each takes as much space as the model."
        ),
    )
    distributed: bool = option(
        False,
        title="Several GPUs",
        section="Several GPUs",
        help="Train on several GPUs at once.",
        explanation="Each GPU works on a part of every batch. It pays for large data sets and models only.",
        not_built="training runs on one device.",
    )
    distributed_port: int = option(
        39591,
        title="Port for several GPUs",
        section="Several GPUs",
        ge=1024,
        le=65535,
        help="The network port over which the processes of a distributed run find each other.",
        explanation="Change it only when another program on the same machine uses it. It means nothing on one device.",
        not_built="it belongs to training on several GPUs, and training runs on one device.",
    )

    @field_validator("loss", mode="before")
    @classmethod
    def _built_losses(cls, value: Any) -> Any:
        """A single type, or ``LossOptions`` for each target."""
        if isinstance(value, Mapping):
            return dict(validate_each(LossOptions, ((str(target), entry) for target, entry in value.items())))
        return check_loss_type(value)

    @field_validator("batch_atom_bounds", mode="before")
    @classmethod
    def _two_bounds(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise refuse(f"`batch_atom_bounds` must be a list of two, `[lowest, highest]`; it is {shown(value)}.")
        return list(value)

    @field_validator("num_workers", mode="after")
    @classmethod
    def _no_workers_yet(cls, value: int | None) -> int | None:
        if value:
            raise refuse(
                f"`num_workers: {value}` is not built yet: batches are prepared in the training process. "
                "Leave it empty or set it to 0."
            )
        return value

    @field_validator("lr_scheduler", mode="before")
    @classmethod
    def _known_schedulers(cls, value: Any) -> Any:
        if isinstance(value, str) and value in {"CosineAnnealingLR", "CosineAnnealing", "cosine", "LinearLR"}:
            raise refuse(f"`lr_scheduler: {value}` is not built yet; use `ReduceLROnPlateau` or `ExponentialLR`.")
        return value

    def problems(self) -> list[Problem]:
        return [*self._schedule_problems(), *self._metric_problems(), *self._scale_problems()]

    def _schedule_problems(self) -> list[Problem]:
        owners = {
            "lr_scheduler_gamma": "ExponentialLR",
            "lr_factor": "ReduceLROnPlateau",
            "lr_scheduler_patience": "ReduceLROnPlateau",
        }
        return [
            Problem(
                (name,),
                f"`{name}` has no effect with `lr_scheduler: {self.lr_scheduler}`; it belongs to `{owner}`.",
            )
            for name, owner in owners.items()
            if owner != self.lr_scheduler and self.changed(name)
        ]

    def _metric_problems(self) -> list[Problem]:
        if self.log_mae or self.best_model_metric not in ("weighted_mae", "mae_prod"):
            return []
        return [
            Problem(
                ("log_mae",),
                f"`log_mae: false` leaves nothing to choose the best epoch by with `best_model_metric: "
                f"{self.best_model_metric}`; turn it on or choose `rmse_prod` or `loss`.",
            )
        ]

    def _scale_problems(self) -> list[Problem]:
        if self.scale_targets:
            return []
        return [
            Problem((name,), f"`{name}` has no effect with `scale_targets: false`, which leaves every scale at 1.")
            for name in ("fixed_scaling_weights", "energy_scale")
            if self.changed(name)
        ]
