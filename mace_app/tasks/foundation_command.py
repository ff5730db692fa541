"""Published MACE files on the command line: several files and heads in one go, and those that can be downloaded."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mace_app.jobs import FoundationProgress
from mace_app.jobs.names import safe_file_name
from mace_app.tasks.errors import EXPECTED, TaskError
from mace_app.tasks.foundation import Compared, ExportedHead, FoundationExports, HeadRefused
from mace_app.tasks.phases import HEAD_PHASES, Phases
from mace_app.tasks.published_files import FetchedFile, fetch_published, published_model
from mace_app.tasks.tables import aligned
from mace_app.tasks.terminal import Terminal

_COLUMNS = (("energy", "energy, eV"), ("energy.forces", "forces, eV/Å"), ("energy.stress", "stress, eV/Å³"))


@dataclass(frozen=True)
class Wanted:
    """What shall be exported of each file: the ``heads`` named, all, or the only one there is; ``output`` is a file
    ending in ``.pt`` for one export, otherwise a folder, made if absent."""

    output: Path
    heads: tuple[str, ...] = ()
    all_heads: bool = False
    structures: Path | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.heads and self.all_heads:
            raise TaskError("--head chooses and --all-heads takes all; give one of them.")
        suffix = self.output.suffix
        if suffix != ".pt" and suffix[1:].isalpha() and not self.output.is_dir():
            raise TaskError(f"`{self.output.name}` can't be an exported file: end it in `.pt`, or name a folder.")

    def is_one_file(self, files: int) -> bool:
        if self.output.suffix != ".pt" or self.output.is_dir():
            return False
        if files > 1 or len(self.heads) > 1 or self.all_heads:
            raise TaskError(f"Several exports don't fit in the file `{self.output}`; name a folder with -o.")
        return True


def export_files(files: Sequence[Path], wanted: Wanted) -> bool:
    """Export and print; True if all went well. What one file or head lacks is said, and the others go on."""
    single = wanted.is_one_file(len(files))
    return all([_exported(path, wanted, single) for path in files])


def fetch_files(keys: Sequence[str], licence_accepted: bool, wanted: Wanted | None) -> bool:
    """Download published files unless they are there, say where they lie, and export them if that is ``wanted``."""
    models = [published_model(key, licence_accepted) for key in keys]
    single = wanted is not None and wanted.is_one_file(len(keys))
    good = True
    for model in models:
        fetched: list[FetchedFile] = []
        with _said(model.title) as failures, _shown() as phases:
            if wanted is not None:
                phases.plan(["reading", "rebuilding", *HEAD_PHASES])
            fetched.append(fetch_published(model, phases))
        good = good and not failures
        for file in fetched:
            print(f"{model.title}: {file.path}\nSHA-256: {file.sha256}\nLicence: {model.licence}", flush=True)
            if wanted is not None:
                good = _exported(file.path, wanted, single, file, model.file) and good
    return good


def _exported(
    path: Path, wanted: Wanted, single: bool, fetched: FetchedFile | None = None, name: str | None = None
) -> bool:
    stem = safe_file_name(name or path.stem, "model")
    good = True
    with _said(path.name) as failures, _shown() as phases:
        phases.plan(["rebuilding", *HEAD_PHASES * max(1, len(wanted.heads))])
        known = (None, None) if fetched is None else (fetched.foundation, fetched.sha256)
        exports = FoundationExports(path, phases, *known)
        heads = exports.foundation.heads if wanted.all_heads else list(wanted.heads)
        if not heads:
            heads = [exports.foundation.heads[exports.foundation.head_index(None)]]
        phases.plan(["rebuilding", *HEAD_PHASES * len(heads)])
        if not single:
            wanted.output.mkdir(parents=True, exist_ok=True)
        for head in heads:
            several = len(exports.foundation.heads) > 1
            file = f"{stem}-{safe_file_name(head, 'head')}.pt" if several else f"{stem}.pt"
            output = wanted.output if single else wanted.output / file
            with _said(f"{path.name}, head {head}", phases.warn) as refused:
                exported = exports.head(head, output, wanted.structures, wanted.precision)
                phases.log(_text(path, exported, output))
            good = good and not refused
    return good and not failures


def _text(path: Path, exported: ExportedHead, output: Path) -> str:
    lines = [f"{path.name}: largest differences between the exported file and MACE", differences(exported.structures)]
    lines += [str(check) for check in exported.report.checks]
    lines.append(f"Head: {exported.head}")
    if exported.licence is not None:
        lines.append(f"Licence: {exported.licence}")
    lines.append(f"Model: {output} ({exported.seconds:.1f} s)")
    return "\n".join(lines)


def differences(structures: Sequence[Compared]) -> str:
    """A line for each structure that was compared."""
    header = ("structure", "atoms", *(title for _, title in _COLUMNS), "from")
    rows = [
        (
            row.atoms.get_chemical_formula(),
            str(len(row.atoms)),
            *(f"{row.differences[label]:.2e}" if label in row.differences else "–" for label, _ in _COLUMNS),
            row.source or "the file's elements",
        )
        for row in structures
    ]
    return aligned(header, rows)


class _TerminalPhases(Phases):
    """Phases that a terminal shows; what is printed meanwhile goes above the bar."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(self._show)
        self._terminal = terminal

    def log(self, text: str) -> None:
        self._terminal.print(text)

    def warn(self, text: str) -> None:
        self._terminal.log(text)

    def _show(self, now: FoundationProgress) -> None:
        message = now.message if now.head is None else f"{now.message}, head {now.head}"
        if now.phase == "downloading" and now.done is not None:
            come = f"{now.done / 1e6:.1f}" + (f" of {now.total / 1e6:.1f}" if now.total else "")
            message = f"{message}, {come} MB"
        self._terminal.progress(
            {
                "phase": "exporting",
                "message": message,
                "done": now.fraction,
                "total": 1.0,
                "eta_seconds": now.eta_seconds,
            }
        )


@contextmanager
def _shown() -> Iterator[_TerminalPhases]:
    terminal = Terminal()
    phases = _TerminalPhases(terminal)
    try:
        with phases.told():
            yield phases
    finally:
        terminal.close()


@contextmanager
def _said(what: str, say: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """One file that can't be used must not keep the others from their turn; filled with what was said."""
    failures: list[str] = []
    say = say or _on_stderr
    try:
        yield failures
    except HeadRefused as error:
        failures.append(error.message)
        say(f"{what}: {error}\n{differences(error.structures)}")
    except (*EXPECTED, OSError) as error:
        failures.append(str(error))
        text = str(error) if isinstance(error, EXPECTED) else f"{what}: {getattr(error, 'strerror', None) or error}."
        say(text)


def _on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
