"""How much of a model that starts from trained weights may change, and how fast."""

from typing import Literal

from mace_app.options.base import Options
from mace_app.options.errors import Problem
from mace_app.options.fields import option


class FineTuningHypers(Options):
    """The part of ``TrainingHypers`` that is about weights which are good already."""

    freeze: Literal["nothing", "layers", "backbone"] = option(
        "nothing",
        title="What stays as it is",
        section="Fine-tuning",
        help="Which weights of the foundation model are not trained.",
        explanation=(
            "`backbone` trains the readouts and the heads of new targets only: with few structures nothing is "
            "forgotten, and a step takes a fraction of the time. `layers` keeps the first layers, which describe the "
            "surroundings of an atom, and trains the later ones. Frozen weights end as the very same numbers, whatever "
            "the optimiser does. It needs a foundation model: random weights are no use frozen."
        ),
    )
    freeze_layers: int = option(
        1,
        title="Frozen layers",
        section="Fine-tuning",
        unit="layers",
        ge=1,
        le=32,
        help="How many of the first layers stay as they are with `freeze: layers`.",
        explanation=(
            "A layer is an interaction with its radial network and the product after it; the embedding of elements "
            "stays with the first one. Most foundation models have two layers, so 1 is the usual choice, and as many "
            "as there are is the same as `freeze: backbone`."
        ),
    )
    backbone_learning_rate_factor: float = option(
        1.0,
        title="Learning rate factor of the backbone",
        section="Fine-tuning",
        widget="log",
        gt=0,
        le=1000,
        help="The learning rate of embedding, interactions and products as a multiple of the learning rate.",
        explanation=(
            "Readouts and heads of new targets begin with random weights and want large steps, trained layers small "
            "ones: 0.1 or 0.01 lets a backbone change slowly while heads learn at full speed. Schedule, warm-up and "
            "stage two act on both alike; the learning rate in log and charts is that of readouts and heads. With "
            "`lora_rank` it is the rate of the corrections."
        ),
    )
    lora_rank: int | None = option(
        None,
        title="Rank of corrections (LoRA)",
        section="Fine-tuning",
        ge=1,
        le=256,
        help="Train corrections of so low a rank to the backbone's weights instead of these; empty for none.",
        explanation=(
            "Every linear layer of the backbone becomes W + alpha/rank · A·B with a fixed W and two thin matrices, a "
            "few per cent of the weights (Hu and others 2021). Less can be forgotten than when all weights move, and "
            "more can be learnt than by readouts alone; 4 to 16 are usual. Skip connections with elements get a "
            "correction for each element; product weights stay as they are. Exported models have the corrections added "
            "to their weights and are as fast as ever. It needs a foundation model."
        ),
    )
    lora_alpha: float = option(
        1.0,
        title="Strength of corrections",
        section="Fine-tuning",
        widget="log",
        gt=0,
        le=1000,
        help="What the corrections are multiplied by, divided by their rank.",
        explanation=(
            "It acts like a learning rate of the corrections that the schedule does not touch. The default of 1 is "
            "that of mace-torch; a value equal to the rank lets a correction act in full."
        ),
    )

    def problems(self) -> list[Problem]:
        found = list(super().problems())
        if self.freeze != "layers" and self.changed("freeze_layers"):
            found.append(
                Problem(
                    ("freeze_layers",),
                    f"`freeze_layers` has no effect with `freeze: {self.freeze}`; it belongs to `freeze: layers`.",
                )
            )
        if self.freeze == "backbone":
            found += self._frozen_backbone_problems()
        if self.lora_rank is None and self.changed("lora_alpha"):
            found.append(Problem(("lora_alpha",), "`lora_alpha` has no effect without `lora_rank`."))
        if self.lora_rank is not None and self.freeze != "nothing":
            found.append(
                Problem(
                    ("lora_rank",),
                    f"`lora_rank` and `freeze: {self.freeze}` can't be used together: corrections would "
                    "change what `freeze` keeps. Leave one of the two out.",
                )
            )
        return found

    def _frozen_backbone_problems(self) -> list[Problem]:
        reasons = {
            "backbone_learning_rate_factor": "weights that are not trained have no learning rate",
            "weight_decay": "it acts on weights of the backbone only",
        }
        return [
            Problem((name,), f"`{name}` has no effect with `freeze: backbone`: {reason}. Leave it out.")
            for name, reason in reasons.items()
            if self.changed(name) and getattr(self, name) != 0
        ]
