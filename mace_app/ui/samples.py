"""The sample data that come with the app."""

from dataclasses import dataclass
from pathlib import Path

from mace_app.jobs import DatasetFolder, Workspace

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "samples"


@dataclass(frozen=True)
class Sample:
    """``summary`` says what is in the file and how it was computed, in one sentence."""

    name: str
    file: str
    title: str
    summary: str
    icon: str

    @property
    def path(self) -> Path:
        return FOLDER / self.file


SAMPLES = (
    Sample(
        "Ethanol sample",
        "ethanol.xyz",
        "Ethanol, a molecule",
        "Distorted ethanol molecules with energies, forces, dipoles and charges from density-functional theory, and "
        "the isolated atoms.",
        ":material/bubble_chart:",
    ),
    Sample(
        "Copper sample",
        "copper_emt.xyz",
        "Copper, a crystal",
        "Strained and rattled copper cells with energies, forces and stress from EMT, a simple potential in ASE.",
        ":material/grid_view:",
    ),
)


def add(space: Workspace, sample: Sample) -> DatasetFolder:
    """A copy of the sample in the workspace, its inspection begun; the one already there if it was added before."""
    for folder in space.datasets():
        if folder.info().original == sample.file and folder.info().name == sample.name:
            return folder
    with sample.path.open("rb") as stream:
        folder = space.add_dataset(sample.name, stream, original=sample.file)
    space.start_inspection(folder)
    space.ensure_supervisor()
    return folder
