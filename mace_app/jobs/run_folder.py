"""A run is a folder. This class reads and writes every file in it, for pages, workers and the command line alike.

Readers never wait for writers: files are renamed into place whole or grow by whole lines.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.files import write_json, write_text
from mace_app.jobs.devices import ALL_CUDA
from mace_app.jobs.errors import RunFolderError
from mace_app.jobs.metrics_file import MetricsChunk, append_header, append_metrics, read_metrics
from mace_app.jobs.names import utc_now
from mace_app.jobs.parity_file import Parity, read_parity, write_parity
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.run_record import RunRecord
from mace_app.jobs.run_state import PROGRESS_KEYS, Progress, RunInfo
from mace_app.jobs.text_tail import tail

if TYPE_CHECKING:
    from mace_app.jobs.metrics_history import MetricsHistory
    from mace_app.options import RunOptions

DOWNLOADS = {
    "model.pt": "Exported model",
    "model.model": "Model for mace-torch",
    "report.json": "Report",
    "options.yaml": "Options",
    "metrics.jsonl": "Metrics",
    "log.txt": "Log",
    "output.txt": "Output of the training process",
    "splits.json": "Splits",
    "run.json": "Run record",
    "parity/validation.npz": "Validation labels and predictions",
    "checkpoints/best.safetensors": "Best checkpoint",
    "checkpoints/last.safetensors": "Last checkpoint",
}
FOUNDATION_FILE = "foundation.json"


@dataclass(frozen=True)
class Download:
    name: str
    title: str
    path: Path
    size: int


class RunFolder(RunRecord):
    """The folder of one run. Making this object reads nothing; a damaged file raises RunFolderError when asked for."""

    @classmethod
    def create(
        cls,
        path: Path | str,
        options_text: str,
        name: str,
        *,
        identifier: str | None = None,
        device: str | None = None,
        seed: int | None = None,
        command: list[str] | None = None,
        starting: ProcessIdentity | None = None,
    ) -> "RunFolder":
        """Make the folder with its options and a queued ``run.json``; refuses a folder that already is a run.

        ``starting``: the process that is about to work on it, so that it does not belong in the queue.
        """
        folder = cls(path)
        if folder.run_file.exists():
            raise RunFolderError(f"{folder.path} already holds a run. Choose another folder.")
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.options_file, options_text)
        info = RunInfo(
            id=identifier or folder.id,
            name=name,
            state="queued",
            created=utc_now(),
            device=device,
            seed=seed,
            command=command,
        )
        if starting is not None:
            info = replace(info, **starting.to_json())
        write_json(folder.run_file, info.to_json())
        return folder

    # Where things are

    @property
    def options_file(self) -> Path:
        return self.path / "options.yaml"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def output_file(self) -> Path:
        """What the worker process prints, warnings and crashes included."""
        return self.path / "output.txt"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def parity_file(self) -> Path:
        return self.path / "parity" / "validation.npz"

    @property
    def model_file(self) -> Path:
        """The exported metatomic model."""
        return self.path / "model.pt"

    @property
    def native_file(self) -> Path:
        """The part of it that mace-torch has, in mace-torch's own format; not every model has one."""
        return self.path / "model.model"

    @property
    def data_path(self) -> Path:
        return self.path / "data"

    def checkpoint_path(self, kind: str) -> Path:
        """``last``, ``best`` or the stem of a periodic one; the folder is made, the file need not exist."""
        if not kind.replace("_", "").isalnum():
            raise ValueError(f"not a kind of checkpoint: {kind!r}")
        folder = self.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder / f"{kind}.safetensors"

    # Options

    def options_text(self) -> str:
        return self._read_text(self.options_file)

    def options(self) -> "RunOptions":
        """The run's options; OptionsError if the file does not hold valid ones."""
        from mace_app.options import load_options

        return load_options(self.options_file)

    def write_options(self, text: str) -> None:
        write_text(self.options_file, text)

    def requested_device(self) -> str | None:
        """The device the options ask for; None where they leave the choice. Reads no more of them than that.

        ``ALL_CUDA`` for a training in several processes that isn't told to stay on the CPU."""
        import yaml

        try:
            value = yaml.safe_load(self.options_text())
        except yaml.YAMLError as error:
            raise RunFolderError(f"{self.options_file} is not valid YAML: {error}. Correct it.") from error
        device = value.get("device") if isinstance(value, dict) else None
        if device != "cpu" and _distributed(value):
            return ALL_CUDA
        return device if isinstance(device, str) else None

    # Progress, log

    def progress(self) -> Progress | None:
        """None if nothing was written yet."""
        path = self.path / "progress.json"
        return Progress.from_json(self._read_json(path), str(path)) if path.exists() else None

    def write_progress(self, **fields: Any) -> None:
        """Replace ``progress.json``; what is not named is null. ProgressWriter keeps and throttles."""
        unknown = set(fields) - PROGRESS_KEYS
        if unknown:
            raise ValueError(f"progress.json has no {', '.join(sorted(unknown))}")
        write_json(self.path / "progress.json", asdict(Progress(**fields, updated=time.time())), durable=False)

    def append_log(self, text: str) -> None:
        """Append a line, with the time in UTC."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with open(self.log_file, "a", encoding="utf-8") as stream:
            stream.write("".join(f"{stamp}  {line}\n" for line in text.splitlines() or [""]))

    def log_tail(self, lines: int = 200) -> list[str]:
        return tail(self.log_file, lines)

    def output_tail(self, lines: int = 50) -> list[str]:
        return tail(self.output_file, lines)

    # Metrics, parity, splits, report

    def start_metrics(self, units: Mapping[str, str], labels: list[str]) -> None:
        append_header(self.metrics_file, units, labels)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        append_metrics(self.metrics_file, record)

    def read_metrics(self, offset: int = 0) -> MetricsChunk:
        return read_metrics(self.metrics_file, offset)

    def metrics(self) -> "MetricsHistory":
        """Everything so far; keep the object and call its ``refresh`` for what is new."""
        from mace_app.jobs.metrics_history import MetricsHistory  # numpy, which most of this package does without

        history = MetricsHistory(self.metrics_file)
        history.refresh()
        return history

    def write_parity(self, arrays: Mapping[str, Any], epoch: int) -> None:
        write_parity(self.parity_file, arrays, epoch)

    def parity(self) -> Parity | None:
        return read_parity(self.parity_file)

    def write_splits(self, splits: Mapping[str, list[int]]) -> None:
        write_json(self.path / "splits.json", {key: [int(index) for index in value] for key, value in splits.items()})

    def splits(self) -> dict[str, list[int]] | None:
        return self._read_object("splits.json")

    def write_foundation(self, start: Mapping[str, Any]) -> None:
        """What a run started from, once it has read the file."""
        write_json(self.path / FOUNDATION_FILE, start)

    def write_report(self, report: Mapping[str, Any]) -> None:
        write_json(self.path / "report.json", {"format": 1, **report})

    def report(self) -> dict[str, Any] | None:
        return self._read_object("report.json")

    def foundation(self) -> dict[str, Any] | None:
        """The file that this run started from, ``foundation.json``; None for one from random weights, or before it has
        begun."""
        return self._read_object(FOUNDATION_FILE)

    # Downloads

    def downloads(self) -> list[Download]:
        """The files a person may fetch, of those that exist."""
        found = []
        for name, title in DOWNLOADS.items():
            with suppress(RunFolderError):
                path = self.download_path(name)
                found.append(Download(name, title, path, path.stat().st_size))
        return found

    def download_path(self, name: str) -> Path:
        """The file behind a name of the list; RunFolderError for every other name, and for links that lead out."""
        path = self.path / name
        if name not in DOWNLOADS or not path.is_file() or not path.resolve().is_relative_to(self.path.resolve()):
            raise RunFolderError(f"The run {self.id} has no file {name!r} to download.")
        return path

    def _read_object(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.exists():
            return None
        value = self._read_json(path)
        if not isinstance(value, dict):
            raise RunFolderError(f"{path} is damaged: it holds no JSON object. Restore it from a backup.")
        return value


def _distributed(options: Any) -> bool:
    for name in ("architecture", "training", "distributed"):
        options = options.get(name) if isinstance(options, dict) else None
    return options is True
