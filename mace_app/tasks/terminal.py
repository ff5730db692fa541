"""A run as a person at a terminal sees it: log lines, and below them a bar with the time that is left."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

PHASES = {"preparing": "Preparing", "training": "Training", "exporting": "Exporting", "evaluating": "Evaluating"}


class Terminal:
    """On a terminal a bar; anywhere else (a file, a batch system) the log lines alone."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._bar: tqdm[Any] | None = None
        self._phase: str | None = None
        self._fields: dict[str, Any] = {}
        self.shows_bar = self.stream.isatty()

    def log(self, text: str) -> None:
        if self._bar is not None:
            tqdm.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def print(self, text: str) -> None:
        """To the standard output, where results go, without a bar on the same line."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)

    def progress(self, fields: Mapping[str, Any]) -> None:
        if not self.shows_bar:
            return
        if fields.get("phase", self._phase) != self._phase:
            self._phase = fields.get("phase")
            self.close()
            self._fields = {}
            if self._phase in PHASES:
                self._bar = tqdm(
                    total=1.0,
                    file=self.stream,
                    leave=False,
                    ncols=shutil.get_terminal_size().columns,  # 80 where the terminal doesn't say
                    unit="",
                    mininterval=0.2,
                    miniters=0,  # the time that is left and the message change though the bar stands still
                    bar_format="{desc} {percentage:3.0f}%|{bar}| {unit}",
                )
        self._fields.update(fields)
        if self._bar is None:
            return
        done, total = self._fields.get("done"), self._fields.get("total")
        self._bar.set_description_str(
            str(self._fields.get("message") or PHASES.get(self._phase or "", "")), refresh=False
        )
        self._bar.unit = remarks(self._fields)
        if done is not None and total:
            self._bar.update(min(1.0, done / total) - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def remarks(fields: Mapping[str, Any]) -> str:
    """For example ``12.3 structures/s, 4:05 min left``."""
    parts = []
    speed, left = fields.get("structures_per_second"), fields.get("eta_seconds")
    if speed:
        parts.append(f"{speed:.3g} structures/s")
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``45 s``, ``4:05`` (minutes), ``3:04:05`` (hours)."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h"
