"""``run.json`` and ``progress.json``: what they hold, with types."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from mace_app.jobs.errors import RunFolderError
from mace_app.jobs.processes import ProcessIdentity

State = Literal["queued", "running", "stopping", "finished", "stopped", "failed", "interrupted"]
Phase = Literal["preparing", "training", "exporting", "evaluating", "done"]
StopMode = Literal["best", "now"]

ACTIVE_STATES: frozenset[str] = frozenset({"queued", "running", "stopping"})
FINAL_STATES: frozenset[str] = frozenset({"finished", "stopped", "failed", "interrupted"})
RESUMABLE_STATES: frozenset[str] = frozenset({"stopped", "failed", "interrupted"})
FORMAT = 1


@dataclass(frozen=True)
class RunInfo:
    """The content of ``run.json``. Times are ISO 8601 in UTC; ``pid_started`` is seconds since 1970.

    A queued run with a ``pid`` is being started on a command line; one without belongs in the queue. ``failure`` says
    in a form for programs why the run is not finished (see ``failures.Failure``), ``not_responding`` since when a
    worker that lives has given no sign. ``automatic`` is how often in a row the supervisor resumed the run by itself
    and ``automatic_from`` the place (``last_place``) where it did so the last time. ``imported`` tells where a run came
    from.
    """

    id: str
    name: str
    state: State
    created: str
    kind: str = "train"
    reason: str | None = None
    started: str | None = None
    ended: str | None = None
    device: str | None = None
    seed: int | None = None
    command: list[str] | None = None
    pid: int | None = None
    pid_started: float | None = None
    pid_after_boot: float | None = None
    boot: str | None = None
    slot: str | None = None
    not_responding: str | None = None
    failure: dict[str, Any] | None = None
    automatic: int = 0
    automatic_from: list[int] | None = None
    tags: list[str] = field(default_factory=list)
    note: str = ""
    archived: bool = False
    imported: dict[str, str] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    parameters: int | None = None

    @property
    def process(self) -> ProcessIdentity | None:
        return ProcessIdentity.from_json(vars(self))

    def with_(self, **values: Any) -> "RunInfo":
        """A copy with other values."""
        return replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any, where: str) -> "RunInfo":
        if not isinstance(value, dict):
            raise RunFolderError(
                f"{where} is damaged: it holds no JSON object. Restore it from a backup or delete the run."
            )
        if value.get("format") != FORMAT:
            raise RunFolderError(
                f"{where} has format {value.get('format')!r}; this version of MACE Studio reads format {FORMAT}. "
                "Open the run with the version that wrote it."
            )
        if value.get("state") not in get_args(State):
            raise RunFolderError(
                f"{where} names the unknown state {value.get('state')!r}; known are {', '.join(get_args(State))}."
            )
        for key in ("id", "name", "created"):
            if not isinstance(value.get(key), str):
                raise RunFolderError(
                    f"{where} is damaged: {key!r} is missing. Restore it from a backup or delete the run."
                )
        known = {item.name for item in fields(cls)}
        return cls(**{key: entry for key, entry in value.items() if key in known})


RUN_KEYS: frozenset[str] = frozenset(item.name for item in fields(RunInfo))


@dataclass(frozen=True)
class Progress:
    """The content of ``progress.json``; ``done`` of ``total`` is of the current phase, memory in MB (10⁶ bytes)."""

    phase: Phase = "preparing"
    message: str = ""
    done: float | None = None
    total: float | None = None
    eta_seconds: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    structures_per_second: float | None = None
    memory_mb: float | None = None
    best_epoch: int | None = None
    updated: float = 0.0

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1, or None where the total is not known."""
        if self.done is None or not self.total:
            return None
        return min(1.0, max(0.0, self.done / self.total))

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Progress":
        if not isinstance(value, dict) or value.get("phase") not in get_args(Phase):
            raise RunFolderError(f"{where} is damaged; it is written anew once the run goes on.")
        known = {item.name for item in fields(cls)}
        return cls(**{key: entry for key, entry in value.items() if key in known})


PROGRESS_KEYS: frozenset[str] = frozenset(item.name for item in fields(Progress)) - {"updated"}
