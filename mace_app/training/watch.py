"""Whether a training is diverging."""

import math
from dataclasses import asdict, dataclass
from typing import Any

FACTOR = 100.0  # times the lowest loss is far above it, whatever the kind of loss
LOOKS = 5
FORGIVEN = 0.5  # of a bad look, by each good one
STEPS = 100
LOOK_EVERY = 500  # steps, in epochs that are longer


@dataclass
class DivergenceWatch:
    """Looks at the mean training loss of an epoch, or of its steps so far.

    A loss is bad when it is more than ``FACTOR`` times the lowest of an epoch (the untrained model's counts too) and
    above the untrained model's: below that, something has been learnt and noise can be large. The training diverges
    when ``LOOKS`` looks over at least ``STEPS`` steps were bad, each good one between making up for ``FORGIVEN``. What
    is decided depends on the losses alone, not on time, so a resumed run decides alike.
    """

    untrained: float | None = None
    lowest: float | None = None
    bad_looks: float = 0.0
    bad_since: int = 0

    def begin(self, loss: float) -> None:
        """The loss before the first step."""
        if math.isfinite(loss):
            self.untrained = self.lowest = loss

    def restart(self) -> None:
        """The loss is another from now on."""
        self.untrained = self.lowest = None
        self.bad_looks = 0.0

    def look(self, loss: float, step: int, whole_epoch: bool) -> bool:
        """True if the training diverges. ``step`` counts from the beginning of the run."""
        if not math.isfinite(loss):
            return False  # another check deals with it
        far = self.lowest is not None and loss > FACTOR * self.lowest
        if far and (self.untrained is None or loss > self.untrained):
            if self.bad_looks == 0:
                self.bad_since = step
            self.bad_looks += 1
            return self.bad_looks >= LOOKS and step - self.bad_since >= STEPS
        self.bad_looks = max(0.0, self.bad_looks - FORGIVEN)
        if whole_epoch:
            self.lowest = loss if self.lowest is None else min(self.lowest, loss)
        return False

    def state(self) -> dict[str, Any]:
        return asdict(self)
