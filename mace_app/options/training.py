"""The hyperparameters of training, under ``architecture.training``."""

from typing import ClassVar, Literal

from mace_app.options.errors import Problem
from mace_app.options.fields import option
from mace_app.options.fine_tuning import FineTuningHypers
from mace_app.options.loop import LoopHypers
from mace_app.options.loss import ConfigWeights, LossOptions
from mace_app.options.normalisation import Baseline, Scaling


class TrainingHypers(FineTuningHypers, LoopHypers):
    """Every trainer hyperparameter of ``experimental.mace``, and our own; those of the loop come first."""

    hints: ClassVar[dict[str, str]] = {
        "finetune": "to go on from a trained model give `model.mace_model`, a `.model` file.",
        "max_atoms_per_batch": "the limit on atoms in a batch is `batch_atom_bounds: [null, N]`.",
        "min_atoms_per_batch": "the limit on atoms in a batch is `batch_atom_bounds: [N, null]`.",
        "lr": "it is called `learning_rate`.",
        "max_num_epochs": "it is called `num_epochs`.",
        "epochs": "it is called `num_epochs`.",
        "scheduler": "it is called `lr_scheduler`.",
        "scheduler_patience": "it is called `lr_scheduler_patience`.",
        "clip_grad": "it is called `grad_clip_norm`.",
        "patience": "it is called `early_stopping_patience`.",
        "start_swa": "it is called `stage_two_start`.",
        "start_stage_two": "it is called `stage_two_start`.",
        "lora": "corrections are trained with `lora_rank: 4`.",
        "lr_params_factors": "the rate of the backbone is set by `backbone_learning_rate_factor`.",
        "swa_lr": "it is called `stage_two_learning_rate`.",
        "stage_two_lr": "it is called `stage_two_learning_rate`.",
        "ema": "give `ema_decay`, or `ema_decay: null` for none.",
        "E0s": "energies of single atoms are given as `atomic_baseline: {energy: {1: -13.6}}`.",
        "energy_weight": "weights are given as `loss: {energy: {weight: 1, forces: {weight: 10}}}`.",
        "forces_weight": "weights are given as `loss: {energy: {weight: 1, forces: {weight: 10}}}`.",
        "stress_weight": "weights are given as `loss: {energy: {stress: {weight: 1}}}`.",
        "seed": "it belongs at the top level, beside `training_set`.",
        "device": "it belongs at the top level, beside `training_set`.",
        "r_max": "it belongs under `architecture.model`.",
    }

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
            "helps: `{energy: {weight: 1, forces: {weight: 10}}}`; terms left out count as mse with weight 1. All "
            "values are divided by a typical size first, so weights compare like with like. `weighted` and `universal` "
            "stand for MACE's own losses: energy per atom, forces and stress with weights 1, 100 and 1, as squares, or "
            "as huber with a delta of 0.01 eV/atom, eV/Å and eV/Å³ that is smaller for large forces. They compare "
            "the stress itself (energy per volume), the other losses volume times stress per atom."
        ),
    )
    config_weights: ConfigWeights = option(
        default_factory=dict,
        title="Weights of groups",
        section="Loss",
        help="How much the structures of each `config_type` count in the loss, 1 where not given.",
        explanation=(
            "For data of several kinds: `{liquid: 1, dimer: 10}` lets every dimer count as ten. A `config_weight` "
            "beside a structure multiplies it, and structures without `config_type` are of the type `Default`, both as "
            "in MACE. Reported errors, baseline and scale are not weighted. metatrain has no such option."
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
        help="Scales given by you instead of measured: a number for each target, or the run to take them from.",
        explanation=(
            "Useful to repeat another run exactly or to compare runs on different data. `{energy: 0.5}` divides "
            "energies per atom and forces by 0.5 in their units; a target per atom may have a number for each element. "
            "A run folder or a `.safetensors` checkpoint stands for all its scales. What is not given is measured."
        ),
    )
    atomic_baseline: Baseline = option(
        default_factory=dict,
        title="Energies of single atoms",
        section="Normalisation",
        help="What each element contributes before the network adds its part; fitted unless given.",
        explanation=(
            "Most of a total energy is a sum over atoms that no network should have to learn. Isolated atoms found in "
            "the data are used, otherwise a least-squares fit; `{energy: fit}` and `{energy: isolated_atoms}` insist "
            "on one of them. `{energy: {1: -13.6, 8: -432.1}}` fixes some or all elements, and the others are fitted "
            "around them. A single number holds for every element, and 0 turns it off. A run folder or a "
            "`.safetensors` checkpoint stands for the values of its targets. With `mace_model` the energies of the "
            "file are used (`{energy: foundation}`); `{energy: estimated}` shifts them by what the file's predictions "
            "leave over on your data, which is right when these come from another level of theory. Numbers and "
            "isolated atoms then replace the energies of the file, whose own shift stays."
        ),
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
        explanation=(
            "It concerns spherical targets with several irreps, such as a density expanded in l = 0, 1 and 2, and is "
            "refused where there is none. The error of the whole target stays, and only it counts for the best epoch."
        ),
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
        help="Train in several processes, one on each GPU of the machine or of a SLURM job.",
        explanation=(
            "Each process works on a part of every batch, so `batch_size` keeps its meaning and results differ from "
            "those of one GPU in the last digits only (metatrain gives every GPU a batch of `batch_size`). It pays for "
            "large data sets and models, with batches of many structures. The environment variable "
            "`MACE_APP_PROCESSES` sets the number of processes, also on a CPU."
        ),
    )
    distributed_port: int = option(
        39591,
        title="Port for several GPUs",
        section="Several GPUs",
        ge=1024,
        le=65535,
        help="The network port over which the processes of a distributed run find each other.",
        explanation=(
            "In a SLURM job it must be free on the first machine. On one machine a free port is found as long as this "
            "is left at its default. It means nothing without `distributed`."
        ),
    )

    def in_stage_two(self) -> "TrainingHypers":
        """The same with loss and learning rate as they are in stage two."""
        rate = self.learning_rate if self.stage_two_learning_rate is None else self.stage_two_learning_rate
        loss = self.loss if self.stage_two_loss is None else self.stage_two_loss
        return self.model_copy(update={"learning_rate": rate, "loss": loss})

    def problems(self) -> list[Problem]:
        return [*super().problems(), *self._metric_problems(), *self._scale_problems()]

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
