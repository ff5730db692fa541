"""What the inspections say about the data that options name: sizes of the splits, elements."""

from dataclasses import dataclass
from pathlib import Path

from mace_app.data.splits import fraction_size
from mace_app.jobs import DatasetFolder, JobsError, Workspace
from mace_app.options import DatasetOptions, IndicesOptions, Problem, RunOptions
from mace_app.ui.elements import symbols


@dataclass(frozen=True)
class FileSummary:
    """``structures`` without the isolated atoms; ``groups`` are the values of `config_type`."""

    structures: int
    isolated: int
    elements: tuple[int, ...]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitSizes:
    """Numbers of structures; ``isolated`` atoms of the training data serve the baseline and are in no split."""

    training: int
    validation: int
    test: int
    isolated: int
    elements: tuple[int, ...]
    only_outside: tuple[tuple[str, tuple[int, ...]], ...] = ()


def file_summary(folder: DatasetFolder) -> FileSummary | None:
    """From the inspection; None if there is none."""
    inspection = folder.inspection()
    if inspection is None:
        return None
    return FileSummary(
        structures=inspection.structures - len(inspection.isolated_atoms),
        isolated=len(inspection.isolated_atoms),
        elements=tuple(sorted(inspection.elements)),
        groups=tuple(value for key in inspection.keys if key.name == "config_type" for value in key.values),
    )


def summaries_by_path(space: Workspace) -> dict[str, FileSummary]:
    """What is known about each file of the workspace, by absolute path."""
    found = {}
    for folder in space.datasets():
        try:
            summary = file_summary(folder)
            if summary is not None:
                found[str(folder.source_path)] = summary
        except JobsError:
            continue
    return found


def split_sizes(space: Workspace, options: RunOptions) -> SplitSizes | None:
    """How many structures each split will have; None while a file has not been inspected."""
    known = summaries_by_path(space)
    training = _files(options.training_set, known)
    if training is None:
        return None
    total = sum(file.structures for file in training)
    sizes, outside = [], []
    elements = {z for file in training for z in file.elements}
    for name, value in (("validation_set", options.validation_set), ("test_set", options.test_set)):
        if isinstance(value, float):
            sizes.append(sum(fraction_size(file.structures, value) for file in training))
        elif isinstance(value, IndicesOptions):
            if isinstance(value.indices, str):
                return None
            sizes.append(len(value.indices))
        else:
            files = _files(value, known)
            if files is None:
                return None
            sizes.append(sum(file.structures for file in files))
            extra = {z for file in files for z in file.elements} - elements
            if extra:
                outside.append((name, tuple(sorted(extra))))
    taken = sum(
        size
        for size, value in zip(sizes, (options.validation_set, options.test_set), strict=True)
        if not isinstance(value, list)
    )
    return SplitSizes(
        training=total - taken,
        validation=sizes[0],
        test=sizes[1],
        isolated=sum(file.isolated for file in training),
        elements=tuple(sorted(elements)),
        only_outside=tuple(outside),
    )


def _files(datasets: list[DatasetOptions], known: dict[str, FileSummary]) -> list[FileSummary] | None:
    paths = [str(Path(dataset.systems.read_from).absolute()) for dataset in datasets]
    return [known[path] for path in paths] if all(path in known for path in paths) else None


def split_problems(options: RunOptions, sizes: SplitSizes) -> list[Problem]:
    """What the options can't know but the inspected files show, so that no run is started that must fail."""
    found = []
    if sizes.training < 1:
        found.append(
            Problem(
                ("training_set",),
                f"After validation and test are taken away, {sizes.training} structures are left to learn from; "
                "add data or lower the shares.",
            )
        )
    if sizes.validation < 1 and options.architecture.training.num_epochs > 0:
        whole = sizes.training + sizes.test
        found.append(
            Problem(
                ("validation_set",),
                f"A share of {options.validation_set} of {whole} structures leaves none to validate; give a larger "
                "share or other data.",
            )
        )
    for name, elements in sizes.only_outside:
        found.append(
            Problem(
                (name,),
                f"The data for {name.split('_')[0]} contain {symbols(elements)}, which the training data lack; a model "
                "can't predict elements it has never seen. Add such structures to the training data or remove them "
                "here.",
            )
        )
    return found


def elements_by_path(space: Workspace) -> dict[str, tuple[int, ...]]:
    """The elements in every inspected file, by absolute path."""
    return {path: summary.elements for path, summary in summaries_by_path(space).items()}


def chosen_elements(space: Workspace, files: list[str]) -> tuple[int, ...]:
    """The elements in inspected files, given by path."""
    known = summaries_by_path(space)
    return tuple(sorted({z for file in files if file in known for z in known[file].elements}))


def chosen_groups(space: Workspace, files: list[str]) -> tuple[str, ...]:
    """The groups of structures (`config_type`) in inspected files, given by path."""
    known = summaries_by_path(space)
    return tuple(dict.fromkeys(group for file in files if file in known for group in known[file].groups))
