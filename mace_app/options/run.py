"""A whole run: the tree that an options file holds."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from mace_app.options.base import Options, shown, validate_each
from mace_app.options.checks import data_problems, irreps_problems, run_problems
from mace_app.options.datasets import DatasetOptions, IndicesOptions, agreement_problems, merged_targets
from mace_app.options.errors import OptionsError, Problem, refuse
from mace_app.options.fields import option
from mace_app.options.foundation_checks import from_file
from mace_app.options.loggers import WandbOptions
from mace_app.options.mask_checks import mask_problems
from mace_app.options.model import ModelHypers
from mace_app.options.target_info import TargetInfo
from mace_app.options.training import TrainingHypers


class Architecture(Options):
    """The model and how it is trained."""

    hints: ClassVar[dict[str, str]] = {"trainer": "it is called `training`.", "hypers": "it is called `model`."}

    name: Literal["experimental.mace"] = option(
        "experimental.mace",
        title="Architecture",
        section="Run",
        help="The kind of model; only MACE exists here.",
        explanation="The name is metatrain's, so that its options files can be read.",
    )
    atomic_types: list[Annotated[int, Field(ge=1, le=118)]] | None = option(
        None,
        title="Elements",
        section="Run",
        help="Atomic numbers the model knows; empty takes those of the training data.",
        explanation=(
            "Name them only to reserve a place for elements that more data will bring later, or to be sure that "
            "nothing else is in the data. An element without training data gets predictions without meaning."
        ),
    )
    model: ModelHypers = option(
        default_factory=ModelHypers,
        title="Model",
        section="Model",
        help="The architecture of the network.",
        explanation="Everything that decides what the network looks like.",
    )
    training: TrainingHypers = option(
        default_factory=TrainingHypers,
        title="Training",
        section="Training",
        help="How the network is trained.",
        explanation="Everything that decides how its weights are found.",
    )

    @field_validator("atomic_types", mode="before")
    @classmethod
    def _atomic_numbers(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not value:
            raise refuse(f"`atomic_types` must be a list of atomic numbers such as `[1, 6, 8]`; it is {shown(value)}.")
        wrong = [
            entry for entry in value if isinstance(entry, bool) or not isinstance(entry, int) or not 1 <= entry <= 118
        ]
        if wrong:
            raise refuse(f"`atomic_types` must hold atomic numbers from 1 to 118; one is {shown(wrong[0])}.")
        return sorted(set(value))


def _datasets(value: Any) -> list[DatasetOptions]:
    """One data set or a list of them becomes a list."""
    if value is None or value == [] or value == "":
        raise refuse("No data set is given; name a file of structures.")
    entries = value if isinstance(value, list | tuple) else [value]
    return [dataset for _, dataset in validate_each(DatasetOptions, enumerate(entries))]


def _validation(value: Any) -> Any:
    """A fraction, ``{indices: …}``, one data set or a list of them; a number in quotes counts as a number."""
    if isinstance(value, bool) or value is None:
        raise refuse(f"This must be a fraction such as 0.1, `{{indices: [...]}}` or a data set; it is {shown(value)}.")
    if isinstance(value, dict) and set(value) == {"indices"}:
        return IndicesOptions.model_validate(value)
    if isinstance(value, IndicesOptions):
        return value
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _datasets(value)
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise refuse(f"A fraction must be at least 0 and less than 1; it is {shown(value)}.")
        return float(value)
    return _datasets(value)


AsWritten = str | DatasetOptions | list[str | DatasetOptions]
TrainingSet = Annotated[list[DatasetOptions], BeforeValidator(_datasets, json_schema_input_type=AsWritten)]
OtherSet = Annotated[
    float | IndicesOptions | list[DatasetOptions],
    BeforeValidator(_validation, json_schema_input_type=float | IndicesOptions | AsWritten),
]


class RunOptions(Options):
    """Everything a person can ask of a training run; equal to the content of ``options.yaml``."""

    hints: ClassVar[dict[str, str]] = {
        "training": "it belongs under `architecture`.",
        "model": "it belongs under `architecture`.",
        "targets": "targets belong to a data set, for example `training_set: {systems: data.xyz, targets: …}`.",
        "dtype": "it is called `base_precision` (32 or 64).",
        "finetune": "to go on from a trained model give `architecture.model.mace_model`, a `.model` file.",
    }

    device: str = option(
        "auto",
        title="Device",
        section="Run",
        help="Where to compute: `auto`, `cpu`, `cuda`, or one GPU such as `cuda:1`.",
        explanation=(
            "`auto` takes the first GPU that CUDA offers and the CPU otherwise. A GPU is much faster for all but the "
            "smallest models. One run uses one device, unless `distributed` asks for all GPUs."
        ),
    )
    base_precision: Literal[32, 64] = option(
        64,
        title="Precision",
        section="Run",
        unit="bit",
        help="Numbers of 32 or 64 bits.",
        explanation=(
            "64 bits give smooth energies down to the last digit, for geometry optimisation, vibrations and long "
            "dynamics. 32 bits take half the memory, are faster on most GPUs and usually good enough for training; we "
            "recommend them there."
        ),
    )
    seed: int | None = option(
        None,
        title="Random seed",
        section="Run",
        ge=0,
        le=2**32 - 1,
        help="The start of all random numbers; empty draws one and writes it down.",
        explanation=(
            "The seed decides the split, the first weights and the order of structures. The same seed on the same "
            "machine repeats a run; several seeds show how much of a difference is chance."
        ),
    )
    architecture: Architecture = option(
        default_factory=Architecture,
        title="Architecture",
        section="Model",
        help="The model and how it is trained.",
        explanation="See the options of the model and of training.",
    )
    training_set: TrainingSet = option(
        title="Training set",
        section="Data",
        help="The structures to learn from: a file, a data set, or a list of data sets.",
        explanation=(
            "A file name alone stands for its structures and their `energy`. A data set names the file under `systems` "
            "and what to learn under `targets`."
        ),
    )
    validation_set: OtherSet = option(
        0.1,
        title="Validation set",
        section="Data",
        help="The structures that decide which epoch is best: a fraction, indices, or data sets.",
        explanation=(
            "A fraction such as 0.1 is drawn at random from the training file. Frames of one trajectory resemble each "
            "other, so a separate file gives a more honest error. The model never learns from these structures."
        ),
    )
    test_set: OtherSet = option(
        0.0,
        title="Test set",
        section="Data",
        help="The structures that are looked at only once, at the end: a fraction, indices, or data sets.",
        explanation=(
            "The best epoch is chosen on the validation set, so only an untouched test set gives an unbiased error."
        ),
    )
    print_stats: bool | Literal["auto"] = option(
        "auto",
        title="Statistics of the data",
        section="Run",
        help="Whether to write means and spreads of all labels to the log.",
        explanation="`auto` does so for data sets below a million structures.",
    )
    final_eval: bool = option(
        True,
        title="Errors at the end",
        section="Run",
        help="Whether to evaluate the exported model on every split when training has ended.",
        explanation="It takes about as long as one epoch and fills the report. Turn it off for very large data sets.",
    )
    tensorboard: bool = option(
        False,
        title="TensorBoard files",
        section="Run",
        help="Whether to write losses and errors as TensorBoard event files, too.",
        explanation=(
            "They lie in the folder `tensorboard` of the run and grow with every epoch: `tensorboard --logdir` shows "
            "them while the training goes on. Everything in them is also on the run's own page."
        ),
    )
    wandb: WandbOptions | None = option(
        None,
        title="Weights & Biases",
        section="Run",
        help="Write the run for Weights & Biases, offline: nothing is sent.",
        explanation=(
            "When the training has ended, a folder `wandb` is written, which `wandb sync` sends to the service when "
            "you want it. It needs the package wandb: `pip install wandb`."
        ),
    )

    @field_validator("device", mode="before")
    @classmethod
    def _known_device(cls, value: Any) -> Any:
        name = {"gpu": "cuda", None: "auto"}.get(value, value) if isinstance(value, str | None) else value
        if isinstance(name, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
            return name
        if isinstance(name, str) and name.startswith("multi"):
            raise refuse(
                f"`device: {name}` is not built yet: several GPUs are asked for with `distributed: true` under "
                "`architecture.training`. Use `auto`, `cpu` or `cuda` here."
            )
        if name == "mps":
            raise refuse("`device: mps` is not supported, because it can't compute with 64 bits. Use `cpu`.")
        raise refuse(f"`device` must be `auto`, `cpu`, `cuda` or for example `cuda:1`; it is {shown(value)}.")

    @field_validator("print_stats", mode="before")
    @classmethod
    def _yes_no_auto(cls, value: Any) -> Any:
        if isinstance(value, bool) or value == "auto":
            return value
        raise refuse(f"`print_stats` must be `auto`, true or false; it is {shown(value)}.")

    @property
    def training_datasets(self) -> list[DatasetOptions]:
        return self.training_set

    @property
    def validation(self) -> float | IndicesOptions | list[DatasetOptions]:
        return self.validation_set

    @property
    def test(self) -> float | IndicesOptions | list[DatasetOptions]:
        return self.test_set

    def all_datasets(self) -> list[tuple[tuple[str, ...], DatasetOptions]]:
        """Every data set with its place in the options, training first."""
        placed: list[tuple[tuple[str, ...], DatasetOptions]] = []
        for name in ("training_set", "validation_set", "test_set"):
            value = getattr(self, name)
            if isinstance(value, list):
                placed.extend(((name, str(number)), dataset) for number, dataset in enumerate(value))
        return placed

    def targets(
        self, found: Collection[str] | None = None, symmetric: Mapping[str, bool] | None = None
    ) -> dict[str, TargetInfo]:
        """The targets of the training set by name.

        Without ``found``, forces and stress that are "used if found" stay undecided (None). With ``found``, the labels
        that the training data hold, they are decided, and OptionsError is raised if an option needs one that is absent.
        ``symmetric`` says the same of tensors: whether all labels of the data equal their transposes.
        """
        targets = merged_targets(self.training_set)
        if found is None:
            return targets
        decided = {
            name: target.resolve(
                f"{name}.forces" in found, f"{name}.stress" in found, symmetric=(symmetric or {}).get(name, True)
            )
            for name, target in targets.items()
        }
        problems = [
            *(Problem(("model", *p.loc), p.message) for p in irreps_problems(self.architecture.model, decided)),
            *(
                Problem(("training", *p.loc), p.message)
                for p in data_problems(self.architecture.training, decided, from_file(self.architecture.model))
            ),
        ]
        problems = [Problem(("architecture", *problem.loc), problem.message) for problem in problems]
        problems += mask_problems(self.architecture.training, decided, self.all_datasets())
        if problems:
            raise OptionsError(problems)
        return decided

    def problems(self) -> list[Problem]:
        found = agreement_problems(self.all_datasets())
        return found or run_problems(self)
