"""The uncertainty of a trained model's energies: fitted when the training has ended, kept in its best checkpoint."""

from collections.abc import Mapping
from typing import Any

from mace_app.data import PreparedData
from mace_app.evaluation import fit_uncertainties
from mace_app.export import uncertainty_name
from mace_app.jobs import RunFolder
from mace_app.model import EnergyUncertainty, MaceModel
from mace_app.tasks.errors import Stopped
from mace_app.tasks.recorder import RunRecorder
from mace_app.training import load_checkpoint, numbers_of, put_uncertainties, save_checkpoint, uncertainties_of

# With fewer structures the size of the uncertainty itself is known to no better than about 15 %.
FEW = 25


def find_uncertainties(
    model: MaceModel, run: RunFolder, prepared: PreparedData, batch_size: int, recorder: RunRecorder
) -> dict[str, EnergyUncertainty]:
    """Of the best weights, which ``model`` has; written into their checkpoint, in place of what is there. Empty, with
    a reason in the log, where one of the energies that exports offer has none: simulation programs that are told to
    use a variant of the energy insist on its uncertainty if the file has any."""
    answers = _answers(model, prepared, batch_size, recorder)
    found = {name: answer for name, answer in answers.items() if isinstance(answer, EnergyUncertainty)}
    if not answers:
        recorder.log("The export has no uncertainty: the model has no target `energy` or variant of it.")
    for name, answer in answers.items():
        if isinstance(answer, str):
            recorder.log(f"The export has no uncertainty of {name}: {answer}")
    if 0 < len(found) < len(answers):
        recorder.log(f"Nor of {', '.join(found)}: programs that use a variant of the energy want each to have one.")
        found = {}
    for name, fit in found.items():
        recorder.log(_about(name, fit, model.config.targets[name].unit))
    checkpoint = load_checkpoint(run.checkpoint_path("best"))
    if found or uncertainties_of(checkpoint):
        put_uncertainties(checkpoint, found)
        save_checkpoint(run.checkpoint_path("best"), checkpoint)
    return found


def _answers(
    model: MaceModel, prepared: PreparedData, batch_size: int, recorder: RunRecorder
) -> dict[str, EnergyUncertainty | str]:
    """For every energy that exports offer, or why there is none."""
    names = [name for name in model.config.targets if uncertainty_name(name)]
    total = len(prepared.training) + len(prepared.validation)
    done = 0

    def on_batch(structures: int) -> None:
        nonlocal done
        done += structures
        recorder.progress(phase="exporting", message="Calibrating the uncertainty", done=done, total=total)
        if recorder.stop_mode() == "now":
            raise Stopped

    try:
        return fit_uncertainties(model, names, prepared.training, prepared.validation, batch_size, on_batch)
    except Stopped:
        return {name: "the run was stopped meanwhile." for name in names}


def _about(name: str, fit: EnergyUncertainty, unit: str) -> str:
    said = (
        f"Uncertainty of {name}: from {fit.trained_on} training structures, calibrated on {fit.calibrated_on} "
        f"validation structures, of whose errors {fit.within_one:.0%} are within σ and {fit.within_two:.0%} within 2σ"
        f" (expected: 68 % and 95 %); α = {fit.alpha:.3g} {unit}".rstrip()
    )
    few = " These are few structures; take it as a rough guess." if fit.calibrated_on < FEW else ""
    return f"{said}.{few}"


def to_json(found: Mapping[str, EnergyUncertainty]) -> dict[str, Any]:
    """As in ``report.json``: target → numbers."""
    return {name: numbers_of(fit) for name, fit in found.items()}
