"""An analysis is a folder: which model was asked about which data, how far that is, and predictions beside labels."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mace_app.files import write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.job_state import JobFolder
from mace_app.jobs.names import utc_now

if TYPE_CHECKING:
    from mace_app.analysis import Analysis, AnalysisInfo

AnalysisPhase = Literal["waiting", "reading", "predicting", "saving", "done"]
Which = Literal["best", "last"]
FOLDER_NAME = "analyses"
WEIGHTS, RESULT, DATA = "weights.safetensors", "result", "data"


@dataclass(frozen=True)
class ModelChoice:
    """One of: a ``run`` and the weights of which of its epochs; a ``foundation`` model and its ``head``, None for its
    only one; an exported ``file`` of this workspace."""

    run: str | None = None
    which: Which = "best"
    foundation: str | None = None
    head: str | None = None
    file: Path | str | None = None


@dataclass(frozen=True)
class DataChoice:
    """A ``dataset`` of the workspace by its id, with the mapping a person confirmed; None: the run's own training,
    validation and test structures. ``targets`` says which target of the data set is compared with a target of the
    model, where the names differ."""

    dataset: str | None = None
    targets: Mapping[str, str] | None = None


@dataclass(frozen=True)
class AnalysisRequest:
    """The content of ``request.json``, which is all that the process at work reads.

    ``model``: ``kind`` (run, foundation, file), ``id``, ``name``, ``path``, and of a run ``which`` and ``epoch``, of a
    foundation model ``head``, of both other kinds ``sha256``. ``data``: ``kind`` splits, or dataset with ``id``,
    ``name``, ``path``, ``sha256``, ``length_unit``, ``targets`` and ``extra_data`` in the grammar of the options.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True)
class AnalysisProgress:
    """``done`` of ``total`` are bytes while reading, structures while predicting; None where nothing is counted.
    ``fraction``, 0 to 1, and ``eta_seconds`` are of the whole job as far as that can be known."""

    phase: AnalysisPhase = "waiting"
    message: str = ""
    done: float | None = None
    total: float | None = None
    fraction: float = 0.0
    eta_seconds: float | None = None
    updated: float = 0.0


class AnalysisFolder(JobFolder):
    """The folder of one analysis; its name is made from what identifies the result. Making this object reads nothing.

    Once ``state`` is done, ``result`` holds the files of ``mace_app.analysis``.
    """

    thing = "analysis"

    @property
    def result_path(self) -> Path:
        return self.path / RESULT

    @property
    def weights_file(self) -> Path:
        """The run's checkpoint as it was when the analysis was asked for; gone when the job is over."""
        return self.path / WEIGHTS

    def forget_weights(self) -> None:
        """The next job brings its own."""
        self._remove(WEIGHTS)

    @property
    def data_path(self) -> Path:
        """Where the process at work packs structures; gone when it is done."""
        return self.path / DATA

    def request(self) -> AnalysisRequest:
        value = self._read_object("request.json") or {}
        try:
            return AnalysisRequest(dict(value["model"]), dict(value["data"]), str(value["created"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WorkspaceError(
                f"{self.path / 'request.json'} is missing or damaged. Delete the analysis and ask for it again."
            ) from error

    def write_request(self, request: AnalysisRequest) -> None:
        write_json(self.path / "request.json", {"format": 1, **asdict(request)})

    @property
    def title(self) -> str:
        """What it is of, for people: ``Ethanol, best (epoch 12), on its own structures``."""
        request = self.request()
        model, data = request.model, request.data
        said = [str(model.get("name", model.get("id")))]
        if model["kind"] == "run":
            said.append(f"{model['which']} (epoch {model['epoch']})")
        elif model.get("head"):
            said.append(f"head {model['head']}")
        said.append("on its own structures" if data["kind"] == "splits" else f"on {data['name']}")
        return ", ".join(said)

    def requested_at(self) -> float:
        """When it was asked for last, in seconds since 1970."""
        return self._time_of("request.json") or 0.0

    def begin(self) -> None:
        """Mark a new job as waiting."""
        self._remove("cancel")
        self.write_progress(AnalysisProgress(message="Waiting"))
        self.set_state("queued")

    def progress(self) -> AnalysisProgress:
        value = self._read_object("progress.json") or {}
        if value.get("phase", "waiting") not in get_args(AnalysisPhase):
            raise WorkspaceError(f"{self.path / 'progress.json'} is damaged. It is written anew once the job goes on.")
        known = {item.name for item in fields(AnalysisProgress)}
        return AnalysisProgress(**{key: entry for key, entry in value.items() if key in known})

    def write_progress(self, progress: AnalysisProgress) -> None:
        write_json(self.path / "progress.json", asdict(progress) | {"updated": time.time()}, durable=False)

    # The result

    def info(self) -> "AnalysisInfo | None":
        """What was compared, without the numbers; None before the result is there, or where it is damaged."""
        from mace_app.analysis import AnalysisError, read_info

        try:
            return read_info(self.result_path)
        except AnalysisError:
            return None

    def result(self) -> "Analysis":
        """AnalysisError if it is missing or damaged."""
        from mace_app.analysis import read_analysis

        return read_analysis(self.result_path)

    def answered(self) -> bool:
        """Whether the result is there."""
        from mace_app.analysis.store import is_whole

        return self.state() == "done" and is_whole(self.result_path)
