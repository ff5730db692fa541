"""The file behind the queue: its schema, how older ones are brought up to date, and what happens when it is damaged.

Beside it lies a note, ``queue.json``, of what only the queue knows: order, holds, the pause. It is written whenever one
of these changes, before the change is committed, and read only when the database has to be made anew.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from mace_app.files import read_json, sync_folder, write_json
from mace_app.jobs.disk_space import nearly_full
from mace_app.jobs.errors import QueueDamaged, QueueError
from mace_app.jobs.locks import locked

SCHEMA_VERSION = 2
BUSY_TIMEOUT_SECONDS = 10.0
NOTE_FORMAT = 1

_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    folder TEXT NOT NULL,
    requested_device TEXT,
    device TEXT,
    state TEXT NOT NULL,
    position INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    pid_started REAL,
    pid_after_boot REAL,
    boot TEXT,
    created REAL NOT NULL
);
CREATE UNIQUE INDEX one_active_job_per_folder ON jobs (folder) WHERE state != 'ended';
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# From each version to the next.
_MIGRATIONS = {
    1: """
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN pid_after_boot REAL;
ALTER TABLE jobs ADD COLUMN boot TEXT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
}
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "database schema is corrupt")


class QueueFile:
    """Opens a connection for each use, so one object serves every thread and process.

    ``rebuild(queue, note)`` fills a queue that had to be made anew because the file was damaged.
    """

    def __init__(self, path: Path, rebuild: Callable[[sqlite3.Connection, dict[str, Any]], None] | None = None) -> None:
        self.path = Path(path)
        self._rebuild = rebuild
        try:
            self._open()
        except QueueDamaged:
            if self._rebuild is None:
                raise
            self.heal()

    @property
    def note(self) -> Path:
        return self.path.with_suffix(".json")

    def _open(self) -> None:
        """Make the tables, or bring those of an earlier version up to date, all or nothing."""
        with self._locked_connection() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == SCHEMA_VERSION:
                return
            if version == 0:
                _run(connection, _SCHEMA)
            elif version in _MIGRATIONS:
                for step in range(version, SCHEMA_VERSION):
                    _run(connection, _MIGRATIONS[step])
            else:
                raise QueueError(
                    f"{self.path} has format {version}; this version of MACE Studio works with {SCHEMA_VERSION}. "
                    "Use the version that made the workspace, or move queue.sqlite away (runs are kept)."
                )
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def heal(self) -> Path | None:
        """Move a damaged database aside and make it anew; where the old one lies now, or None if it was not damaged."""
        with locked(self.path.with_name(".queue.lock")):
            aside = None
            if self._damaged():
                aside = self._move_aside()
            self._open()
            if aside is not None and self._rebuild is not None:
                with self._locked_connection() as connection:
                    self._rebuild(connection, self.read_note())
            return aside

    def _damaged(self) -> bool:
        """Whether another process has not mended it meanwhile."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
                answer = connection.execute("PRAGMA quick_check").fetchone()
                connection.execute("SELECT held, boot FROM jobs LIMIT 1").fetchone()
                connection.execute("SELECT value FROM settings LIMIT 1").fetchone()
            return bool(answer is None or answer[0] != "ok")
        except sqlite3.DatabaseError as error:
            return _is_damage(error)

    def _move_aside(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        number = 1
        while (aside := self.path.with_name(f"queue.damaged-{stamp}-{number}.sqlite")).exists():
            number += 1
        for ending in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{ending}", f"{aside}{ending}")
        sync_folder(self.path.parent)
        return aside

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.row_factory = sqlite3.Row
                yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._explained(error) from error

    @contextmanager
    def _locked_connection(self) -> Iterator[sqlite3.Connection]:
        """Take the write lock before reading, so what was read still holds when it is acted on."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def transaction(self, noted: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing. ``noted``: order, holds or the pause change in it."""
        try:
            with self._locked_connection() as connection:
                yield connection
                if noted:
                    self._write_note(connection)
        except QueueDamaged as error:
            raise self._healed(error) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self.connection() as connection:
                yield connection
        except QueueDamaged as error:
            raise self._healed(error) from error

    def _healed(self, error: QueueDamaged) -> QueueError:
        if self._rebuild is None:
            return error
        aside = self.heal()
        kept = "" if aside is None else f"; the damaged file is kept as {aside.name}"
        return QueueError(
            f"The queue {self.path} was damaged and has been made anew from the runs{kept}. Do again what you did last."
        )

    def _write_note(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT folder, held FROM jobs WHERE state != 'ended' ORDER BY position").fetchall()
        value = {
            "format": NOTE_FORMAT,
            "order": [row["folder"] for row in rows],
            "held": [row["folder"] for row in rows if row["held"]],
            "settings": dict(connection.execute("SELECT name, value FROM settings").fetchall()),
        }
        try:
            write_json(self.note, value)
        except OSError as error:
            raise QueueError(_refused(self.path, error)) from error

    def read_note(self) -> dict[str, Any]:
        """``order``, ``held`` (folders) and ``settings``; empty where there is no readable note."""
        try:
            value = read_json(self.note)
        except (OSError, ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or value.get("format") != NOTE_FORMAT:
            value = {}
        settings = value.get("settings")
        return {
            "order": [item for item in value.get("order", []) if isinstance(item, str)],
            "held": [item for item in value.get("held", []) if isinstance(item, str)],
            "settings": {str(k): str(v) for k, v in settings.items()} if isinstance(settings, dict) else {},
        }

    def _explained(self, error: sqlite3.Error) -> QueueError:
        text = str(error)
        if _is_damage(error):
            return QueueDamaged(f"The queue {self.path} is damaged ({text}). Move the file away; runs are kept.")
        # Where its shared memory finds no room, SQLite speaks of an I/O error.
        if "full" in text or ("disk I/O error" in text and nearly_full(self.path.parent)):
            return QueueError(_refused(self.path, OSError(errno.ENOSPC, "No space left on device")))
        if "readonly" in text or "read-only" in text:
            return QueueError(f"The queue {self.path} can't be written to. Change the permissions of the workspace.")
        if "locked" in text or "busy" in text:
            return QueueError(
                f"The queue {self.path} was in use by another process for {BUSY_TIMEOUT_SECONDS:.0f} s. Try again."
            )
        return QueueError(f"The queue {self.path} cannot be used: {text}. Check its permissions and the disk.")


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and any(word in str(error) for word in _DAMAGE)


def _refused(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk that holds {path.parent} is full, so the queue could not be changed. Free space, then try again."
        )
    return f"The queue {path} could not be changed: {error.strerror or error}. Check the permissions of the workspace."


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)
