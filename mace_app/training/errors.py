"""Errors of training. The text of each is a sentence that can be shown as it is."""


class TrainingError(Exception):
    """What went wrong, where, and what to do."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, foreign, or does not fit."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""

    def __init__(self, epoch: int, step: int | None, learning_rate: float, labels: list[str]) -> None:
        self.epoch = epoch
        where = f"in epoch {epoch}" + (f", step {step}" if step is not None else "")
        what = f" ({', '.join(labels)})" if labels else ""
        super().__init__(
            f"The loss{what} stopped being a finite number {where}. Lower `learning_rate` (it was {learning_rate:g}), "
            "or look for labels that are far too large."
        )


class Diverged(TrainingError):
    """The loss was far above its lowest for long."""

    def __init__(self, epoch: int, loss: float, lowest: float, gradient: float, learning_rate: float) -> None:
        super().__init__(
            f"The training diverged: its loss was more than a hundred times its lowest again and again ({loss:.3g} in "
            f"epoch {epoch}, lowest {lowest:.3g}; mean norm of the gradients {gradient:.3g}). Lower `learning_rate` "
            f"(it was {learning_rate:g}), or look for labels that are far too large."
        )
