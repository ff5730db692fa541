"""Options files: complete ones of ours, and ones for metatrain."""

import tempfile
from pathlib import Path

from mace_app.data import PreparedData, prepare
from mace_app.model import Baseline, ModelConfig, Scaler
from mace_app.options import RunOptions, dump_options, load_options, missing_files
from mace_app.options.metatrain import Measured, to_metatrain
from mace_app.tasks.normalisation import normalise
from mace_app.tasks.starting import Start, file_energies

PROGRAMS = ("mace-studio", "mtt")


def written_options(path: Path, program: str = "mace-studio") -> tuple[str, list[str]]:
    """The options of a file or a run folder as YAML for ``program``, and sentences about what changes there.

    For ``mtt`` the data are read where they are at hand, because metatrain wants some numbers that we take from them.
    """
    options = load_options(path / "options.yaml" if path.is_dir() else path)
    if program == "mace-studio":
        return dump_options(options), []
    missing = missing_files(options)
    if not missing:
        return to_metatrain(options, measure(options))
    text, said = to_metatrain(options)
    return text, [*(str(problem) for problem in missing), *said]


def measure(options: RunOptions) -> Measured:
    """What a run would measure before it begins to train; DataError and OptionsError where it would end there."""
    with tempfile.TemporaryDirectory(prefix="mace-studio-") as folder:
        start = Start.of(options)
        prepared = prepare(options if start is None else start.options(options), Path(folder))
        return _measured(options, prepared, start)


def _measured(options: RunOptions, prepared: PreparedData, start: Start | None) -> Measured:
    hypers, training = options.architecture.model, options.architecture.training
    graphs = prepared.training
    neighbours = graphs.avg_num_neighbors() if hypers.avg_num_neighbors == "auto" else hypers.avg_num_neighbors
    if start is None:
        per_structure = tuple(training.per_structure_targets)
        config = ModelConfig(hypers, prepared.atomic_types, prepared.targets, neighbours, per_structure)
        found = normalise(config, Baseline(config), Scaler(config), training, prepared)
    else:
        model = start.model(options, prepared)
        energies = file_energies(start, model, training, prepared, options.training_datasets[0].systems.length_unit)
        found = normalise(model.config, model.baseline, model.scaler, training, prepared, energies)
    labels = {label for info in prepared.targets.values() for label in info.labels()}
    lacking = {label: int((~graphs.labels_present(label)).sum()) for label in sorted(labels)}
    return Measured(
        labels=frozenset(labels),
        avg_num_neighbors=neighbours,
        incomplete={label: count for label, count in lacking.items() if count},
        isolated_atoms=max((len(table) for table in prepared.isolated_atoms.values()), default=0),
        baseline={
            table.target: {z: values[0] for z, values in table.values.items()}
            for table in found.baselines
            if all(len(values) == 1 for values in table.values.values())
        },
        scale={report.target: report.scale[0] for report in found.scales if report.source in ("forces", "given")},
    )
