"""The queue: a SQLite file that pages put jobs in and the supervisor takes them out of.

The run folders are the truth, the queue is the order: a run in state ``queued`` without a job gets one from the
supervisor, and a job whose run is not ``queued`` is dropped instead of started. So whoever dies between two writes
leaves nothing that is lost or done twice.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mace_app.jobs.devices import ALL_CUDA, fitting_devices, occupied
from mace_app.jobs.errors import QueueError
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.queue_file import QueueFile

Kind = Literal["train", "inspect", "foundation", "analyse"]
JobState = Literal["queued", "running", "ended"]
Move = Literal["up", "down", "first", "last"]

LIGHT_KINDS: tuple[Kind, ...] = ("inspect", "foundation", "analyse")
PAUSED = "paused"
_PROCESS = "pid = :pid, pid_started = :pid_started, pid_after_boot = :pid_after_boot, boot = :boot"


@dataclass(frozen=True)
class Job:
    """``folder`` is relative to the workspace (``runs/<id>``, ``datasets/<name>``, ``foundations/<name>``, and
    ``analyses/<key>`` below runs, foundation models or the workspace); ``device`` is given on claiming. One that is
    ``held`` waits until a person lets it go."""

    id: int
    kind: Kind
    folder: str
    requested_device: str | None
    device: str | None
    state: JobState
    position: int
    held: bool
    pid: int | None
    pid_started: float | None
    pid_after_boot: float | None
    boot: str | None
    created: float

    @property
    def process(self) -> ProcessIdentity | None:
        return ProcessIdentity.from_json(vars(self))

    @property
    def light(self) -> bool:
        return self.kind in LIGHT_KINDS


class JobQueue:
    """Jobs in order; see ``QueueFile`` for how they are kept.

    A ``then`` of some methods is called inside their transaction, before it is committed: what it writes and the change
    of the queue happen for others at one moment.
    """

    def __init__(self, path: Path, known: Callable[[], Iterable["KnownJob"]] = tuple) -> None:
        """``known()`` tells the jobs there must be, when a damaged queue is made anew."""
        self._known = known
        self._file = QueueFile(path, self._rebuild)

    @property
    def path(self) -> Path:
        return self._file.path

    def enqueue(
        self,
        kind: Kind,
        folder: str,
        device: str | None = None,
        *,
        first: bool = False,
        held: bool = False,
        then: Callable[[], object] = lambda: None,
    ) -> int:
        """Put a job at the end, or before all others; QueueError if its folder already has one that waits or runs."""
        try:
            with self._file.transaction(noted=True) as connection:
                number = _insert(connection, kind, folder, device, first=first, held=held)
                then()
                return number
        except sqlite3.IntegrityError as error:
            raise QueueError(f"{folder} is already waiting or at work. Stop it first.") from error

    def add(self, folder: str, device: str | None, *, held: bool = False, needed: Callable[[], bool]) -> bool:
        """Put a new training at the end unless somebody did so already; ``needed`` is asked inside the transaction."""
        job = KnownJob("train", folder, device)
        with self._file.transaction(noted=True) as connection:
            return bool(_add(connection, [job], {"order": [], "held": [folder] * held}, lambda job: needed()))

    def claim(
        self, devices: Sequence[str], light_limit: int, may_start: Callable[[Job], bool] = lambda job: True
    ) -> Job | None:
        """Take the first job that may start now, or None.

        Trainings: one at a time per device, in order; one that waits for its device does not hold up another device's,
        but one that needs all GPUs keeps later ones from those that become free.
        Light jobs: at once, at most ``light_limit`` of each kind together. While the queue is paused no training
        starts; one that is held, or of which ``may_start`` says no, is passed over.
        """
        with self._file.transaction() as connection:
            running = [_job(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'running'")]
            busy = {device for job in running if not job.light for device in occupied(job.device, devices)}
            light = Counter(job.kind for job in running if job.light)
            paused = _setting(connection, PAUSED, False)
            for job in _waiting(connection):
                device = None
                if job.light:
                    if light[job.kind] >= light_limit:
                        continue
                else:
                    if paused or job.held:
                        continue
                    device = next((d for d in fitting_devices(job.requested_device, devices) if d not in busy), None)
                    if device is None:
                        if job.requested_device == ALL_CUDA:
                            busy |= occupied(ALL_CUDA, devices)  # otherwise later ones would overtake it for ever
                        continue
                if not may_start(job):
                    continue
                connection.execute("UPDATE jobs SET state = 'running', device = ? WHERE id = ?", (device, job.id))
                return _job(connection.execute("SELECT * FROM jobs WHERE id = ?", (job.id,)).fetchone())
        return None

    def set_process(self, job_id: int, process: ProcessIdentity) -> None:
        with self._file.transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET {_PROCESS} WHERE id = :id",
                {"id": job_id, **process.to_json()},
            )

    def give_back(self, job_id: int) -> None:
        """Return a claimed job whose worker never came to life; it keeps its place."""
        with self._file.transaction() as connection:
            _back(connection, job_id)

    def again(self, job_id: int, then: Callable[[], object] = lambda: None) -> bool:
        """Let a job that ran wait once more, before all others; False if it is not running any more."""
        with self._file.transaction(noted=True) as connection:
            if not _back(connection, job_id):
                return False
            connection.execute(
                "UPDATE jobs SET position = (SELECT MIN(position) FROM jobs WHERE state = 'queued') - 1 WHERE id = ?",
                (job_id,),
            )
            then()
            return True

    def finish(self, job_id: int) -> None:
        with self._file.transaction() as connection:
            connection.execute("UPDATE jobs SET state = 'ended' WHERE id = ?", (job_id,))
            # Ended jobs are of no more use; a few are left for a person who looks.
            connection.execute(
                "DELETE FROM jobs WHERE state = 'ended' AND id NOT IN "
                "(SELECT id FROM jobs WHERE state = 'ended' ORDER BY id DESC LIMIT 200)"
            )

    def cancel(self, folder: str, then: Callable[[], object] = lambda: None) -> bool:
        """Take a waiting job out; False if there is none, for instance because it has just been started."""
        with self._file.transaction(noted=True) as connection:
            cursor = connection.execute(
                "UPDATE jobs SET state = 'ended' WHERE folder = ? AND state = 'queued'", (folder,)
            )
            if cursor.rowcount > 0:
                then()
            return cursor.rowcount > 0

    # Order, holds, the pause

    def move(self, folder: str, where: Move) -> bool:
        """Change the place of a waiting training among the others; False if it does not wait."""
        if where not in get_args(Move):
            raise ValueError(f"not a place in the queue: {where!r}")
        with self._file.transaction(noted=True) as connection:
            waiting = [job for job in _waiting(connection) if not job.light]
            index = next((i for i, job in enumerate(waiting) if job.folder == folder), None)
            if index is None:
                return False
            job = waiting.pop(index)
            last = len(waiting)
            target = {"up": max(0, index - 1), "down": min(last, index + 1), "first": 0, "last": last}[where]
            positions = sorted(entry.position for entry in [job, *waiting])
            waiting.insert(target, job)
            for position, entry in zip(positions, waiting, strict=True):
                connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (position, entry.id))
            return True

    def hold(self, folder: str, held: bool) -> bool:
        """Let a waiting job wait until it is let go again, or let it go; False if it does not wait."""
        return self._change_waiting(folder, "held", int(held))

    def request_device(self, folder: str, device: str | None, then: Callable[[], object] = lambda: None) -> bool:
        """Change where a waiting job shall run; False if it does not wait."""
        return self._change_waiting(folder, "requested_device", device, then)

    def _change_waiting(
        self, folder: str, column: str, value: object, then: Callable[[], object] = lambda: None
    ) -> bool:
        with self._file.transaction(noted=True) as connection:
            cursor = connection.execute(
                f"UPDATE jobs SET {column} = ? WHERE folder = ? AND state = 'queued'", (value, folder)
            )
            if cursor.rowcount > 0:
                then()
            return cursor.rowcount > 0

    @property
    def paused(self) -> bool:
        """While it is, no waiting training starts; what runs goes on."""
        with self._file.reading() as connection:
            return bool(_setting(connection, PAUSED, False))

    def set_paused(self, paused: bool) -> None:
        with self._file.transaction(noted=True) as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (PAUSED, json.dumps(paused)))

    # Looking

    def active(self) -> list[Job]:
        """Running jobs, then waiting ones, each in order."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state != 'ended' ORDER BY state = 'queued', position"
            ).fetchall()
        return [_job(row) for row in rows]

    def active_job(self, folder: str) -> Job | None:
        return next((job for job in self.active() if job.folder == folder), None)

    def place(self, folder: str) -> int | None:
        """1 for the next training to start, 2 for the one after it; None if the folder's job does not wait."""
        waiting = [job.folder for job in self.active() if job.state == "queued" and not job.light]
        return waiting.index(folder) + 1 if folder in waiting else None

    # Putting right

    def add_missing(self, known: Sequence["KnownJob"], still: Callable[["KnownJob"], bool]) -> list[str]:
        """Give the known jobs that the queue lacks their places; the folders of those that were added.

        ``still`` is asked inside the transaction whether a job is needed even now.
        """
        there = {job.folder for job in self.active()}
        if all(job.folder in there for job in known):
            return []
        with self._file.transaction(noted=True) as connection:
            return _add(connection, known, self._file.read_note(), still)

    def _rebuild(self, connection: sqlite3.Connection, note: dict[str, Any]) -> None:
        for name, value in note["settings"].items():
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
        _add(connection, list(self._known()), note, lambda job: True)


@dataclass(frozen=True)
class KnownJob:
    """A job that must be in the queue: with a ``process`` it runs, without it waits.

    A ``nameless`` one was at work by its folder's account, which names no process: the supervisor looks for one, and
    starts it anew if there is none.
    """

    kind: Kind
    folder: str
    requested_device: str | None = None
    device: str | None = None
    process: ProcessIdentity | None = None
    nameless: bool = False


def _add(
    connection: sqlite3.Connection, known: Sequence[KnownJob], note: dict[str, Any], still: Callable[[KnownJob], bool]
) -> list[str]:
    """In the order of the note; what it does not know comes after, in the order given."""
    places = {folder: index for index, folder in enumerate(note["order"])}
    added = []
    for job in sorted(known, key=lambda job: places.get(job.folder, len(places))):
        there = connection.execute("SELECT 1 FROM jobs WHERE folder = ? AND state != 'ended'", (job.folder,)).fetchone()
        if there is not None or not still(job):
            continue
        number = _insert(connection, job.kind, job.folder, job.requested_device, held=job.folder in note["held"])
        if job.nameless:
            connection.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (number,))
        if job.process is not None:
            connection.execute(
                f"UPDATE jobs SET state = 'running', device = :device, {_PROCESS} WHERE id = :id",
                {"id": number, "device": job.device, **job.process.to_json()},
            )
        added.append(job.folder)
    return added


def _insert(
    connection: sqlite3.Connection, kind: Kind, folder: str, device: str | None, first: bool = False, held: bool = False
) -> int:
    place = "COALESCE(MIN(position), 0) - 1" if first else "COALESCE(MAX(position), 0) + 1"
    cursor = connection.execute(
        "INSERT INTO jobs (kind, folder, requested_device, state, position, held, created) VALUES (?, ?, ?, "
        f"'queued', (SELECT {place} FROM jobs), ?, ?)",
        (kind, folder, device, int(held), time.time()),
    )
    return int(cursor.lastrowid or 0)


def _back(connection: sqlite3.Connection, job_id: int) -> bool:
    cursor = connection.execute(
        "UPDATE jobs SET state = 'queued', device = NULL, pid = NULL, pid_started = NULL, pid_after_boot = NULL, "
        "boot = NULL WHERE id = ? AND state = 'running'",
        (job_id,),
    )
    return cursor.rowcount > 0


def _waiting(connection: sqlite3.Connection) -> list[Job]:
    return [_job(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY position")]


def _setting(connection: sqlite3.Connection, name: str, default: Any) -> Any:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return default if row is None else json.loads(row["value"])


def _job(row: sqlite3.Row) -> Job:
    values = {key: row[key] for key in row.keys()}  # noqa: SIM118 (a Row iterates over its values)
    return Job(**{**values, "held": bool(values["held"])})
