"""The queue: a SQLite file that pages put jobs in and the supervisor takes them out of."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mace_app.jobs.devices import fitting_devices
from mace_app.jobs.errors import QueueError
from mace_app.jobs.processes import ProcessIdentity

Kind = Literal["train", "inspect", "foundation"]
JobState = Literal["queued", "running", "ended"]

LIGHT_KINDS: tuple[Kind, ...] = ("inspect", "foundation")
SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 10.0

_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    folder TEXT NOT NULL,
    requested_device TEXT,
    device TEXT,
    state TEXT NOT NULL,
    position INTEGER NOT NULL,
    pid INTEGER,
    pid_started REAL,
    created REAL NOT NULL
);
CREATE UNIQUE INDEX one_active_job_per_folder ON jobs (folder) WHERE state != 'ended';
"""


@dataclass(frozen=True)
class Job:
    """``folder`` is relative to the workspace (``runs/<id>``, ``datasets/<name>``, ``foundations/<name>``);
    ``device`` is given on claiming."""

    id: int
    kind: Kind
    folder: str
    requested_device: str | None
    device: str | None
    state: JobState
    position: int
    pid: int | None
    pid_started: float | None
    created: float

    @property
    def process(self) -> ProcessIdentity | None:
        if self.pid is None or self.pid_started is None:
            return None
        return ProcessIdentity(self.pid, self.pid_started)


class JobQueue:
    """Jobs in order. A connection is opened for each call, so one object serves every thread and process."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with self._transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise QueueError(
                    f"{self.path} has format {version}; this version of MACE Studio works with {SCHEMA_VERSION}. "
                    "Use the version that made the workspace, or move queue.sqlite away (runs are kept)."
                )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.row_factory = sqlite3.Row
                yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise QueueError(
                f"The queue {self.path} cannot be used: {error}. If the file is damaged, move it away; runs are kept "
                "and can be resumed."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Take the write lock before reading, so what was read still holds when it is acted on."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def enqueue(self, kind: Kind, folder: str, device: str | None = None) -> int:
        """Put a job at the end; QueueError if its folder already has one that waits or runs."""
        try:
            with self._transaction() as connection:
                cursor = connection.execute(
                    "INSERT INTO jobs (kind, folder, requested_device, state, position, created) VALUES (?, ?, ?, "
                    "'queued', (SELECT COALESCE(MAX(position), 0) + 1 FROM jobs), ?)",
                    (kind, folder, device, time.time()),
                )
                return int(cursor.lastrowid or 0)
        except sqlite3.IntegrityError as error:
            raise QueueError(f"{folder} is already waiting or at work. Stop it first.") from error

    def claim(self, devices: Sequence[str], light_limit: int) -> Job | None:
        """Take the first job that may start now, or None.

        Trainings: one at a time per device, in order; one that waits for its device does not hold up another device's.
        Light jobs: at once, at most ``light_limit`` of each kind together.
        """
        with self._transaction() as connection:
            running = [_job(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'running'")]
            busy = {job.device for job in running if job.kind not in LIGHT_KINDS}
            light = Counter(job.kind for job in running if job.kind in LIGHT_KINDS)
            waiting = [
                _job(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY position")
            ]
            for job in waiting:
                device = None
                if job.kind in LIGHT_KINDS:
                    if light[job.kind] >= light_limit:
                        continue
                else:
                    device = next((d for d in fitting_devices(job.requested_device, devices) if d not in busy), None)
                    if device is None:
                        continue
                connection.execute("UPDATE jobs SET state = 'running', device = ? WHERE id = ?", (device, job.id))
                return _job(connection.execute("SELECT * FROM jobs WHERE id = ?", (job.id,)).fetchone())
        return None

    def set_process(self, job_id: int, process: ProcessIdentity) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET pid = ?, pid_started = ? WHERE id = ?", (process.pid, process.started, job_id)
            )

    def give_back(self, job_id: int) -> None:
        """Return a claimed job whose worker never came to life; it keeps its place."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', device = NULL, pid = NULL, pid_started = NULL "
                "WHERE id = ? AND state = 'running'",
                (job_id,),
            )

    def finish(self, job_id: int) -> None:
        with self._transaction() as connection:
            connection.execute("UPDATE jobs SET state = 'ended' WHERE id = ?", (job_id,))

    def cancel(self, folder: str) -> bool:
        """Take a waiting job out; False if there is none, for instance because it has just been started."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE jobs SET state = 'ended' WHERE folder = ? AND state = 'queued'", (folder,)
            )
            return cursor.rowcount > 0

    def active(self) -> list[Job]:
        """Running jobs, then waiting ones, each in order."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state != 'ended' ORDER BY state = 'queued', position"
            ).fetchall()
        return [_job(row) for row in rows]

    def active_job(self, folder: str) -> Job | None:
        return next((job for job in self.active() if job.folder == folder), None)

    def place(self, folder: str) -> int | None:
        """1 for the next training to start, 2 for the one after it; None if the folder's job does not wait."""
        waiting = [job.folder for job in self.active() if job.state == "queued" and job.kind not in LIGHT_KINDS]
        return waiting.index(folder) + 1 if folder in waiting else None


def _job(row: sqlite3.Row) -> Job:
    return Job(**{key: row[key] for key in row.keys()})  # noqa: SIM118 (a Row iterates over its values)
