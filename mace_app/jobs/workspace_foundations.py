"""What a person can do with the foundation models of a workspace, each with a refusal in a sentence."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mace_app.jobs.data_roots import readable_file
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.folders import building_folder, delete_folder, listed, move_into_place
from mace_app.jobs.foundation_folder import FoundationFolder
from mace_app.jobs.names import display_name, is_folder_name, safe_file_name, slug
from mace_app.jobs.workspace_runs import WorkspaceRuns
from mace_app.published import DOWNLOADABLE

# A job says how it ended a moment before its process is gone and it is off the queue.
END_PATIENCE_SECONDS = 5.0


class WorkspaceFoundations(WorkspaceRuns):
    """The foundation models under ``root`` and their jobs in ``queue``; runs may need one that shall be deleted."""

    @property
    def foundations_path(self) -> Path:
        return self.root / "foundations"

    def foundations(self) -> list[FoundationFolder]:
        """In the order of their folders' names."""
        return [FoundationFolder(path) for path in sorted(self.foundations_path.iterdir()) if listed(path)]

    def foundation(self, identifier: str) -> FoundationFolder:
        path = self.foundations_path / identifier
        if not is_folder_name(identifier) or not path.is_dir():
            raise WorkspaceError(f"There is no foundation model {identifier!r}. It may have been deleted.")
        return FoundationFolder(path)

    def add_foundation(
        self,
        name: str,
        source: Path | str | BinaryIO,
        original: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FoundationFolder:
        """Add a ``.model`` file of this machine by its path, not copied, or an upload, written to disk in pieces.

        ``original`` is the uploaded file's own name; ``progress`` is told the bytes written so far.
        """

        def fill(folder: FoundationFolder) -> str:
            if isinstance(source, Path | str):
                path = readable_file(source, self.root, "the `.model` file")
                shown = display_name(name, path.stem)
                folder.write_source(shown, path.name, path)
                return shown
            file_name = safe_file_name(original or str(getattr(source, "name", "")), "foundation.model")
            shown = display_name(name, Path(file_name).stem)
            folder.store(source, file_name, progress)
            folder.write_source(shown, file_name)
            return shown

        return self._add_foundation(name, fill)

    def add_published(self, key: str, licence_accepted: bool = False, name: str = "") -> FoundationFolder:
        """Add a model of ``mace_app.published.DOWNLOADABLE``; its job fetches the file first. WorkspaceError if its
        licence restricts the use and was not accepted."""
        model = DOWNLOADABLE.get(key)
        if model is None:
            raise WorkspaceError(f"There is no published model {key!r}; there are {', '.join(DOWNLOADABLE)}.")
        if model.needs_consent and not licence_accepted:
            raise WorkspaceError(f"{model.title} is under the {model.licence}. Accept the licence to download it.")

        def fill(folder: FoundationFolder) -> str:
            shown = display_name(name, model.title)
            folder.write_source(shown, f"{model.file}.model", published=key)
            return shown

        return self._add_foundation(name or model.title, fill)

    def _add_foundation(self, name: str, fill: Callable[[FoundationFolder], str]) -> FoundationFolder:
        building = building_folder(self.foundations_path)
        try:
            base = slug(fill(FoundationFolder(building)), "model")
            return FoundationFolder(
                move_into_place(building, self.foundations_path, lambda n: base if n == 1 else f"{base}-{n}")
            )
        except OSError as error:
            raise WorkspaceError(
                f"The foundation model {name!r} could not be stored: {error}. Is the disk full?"
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def rename_foundation(self, identifier: str, name: str) -> None:
        """Change the name that is shown; the folder stays."""
        self.foundation(identifier).rename(name)

    def delete_foundation(self, identifier: str) -> None:
        """Delete what the workspace holds of it, exports included; a file outside stays. Refused while it is at work or
        an unfinished run needs it."""
        folder = self.foundation(identifier)
        if self.queue.active_job(f"foundations/{identifier}") is not None:
            raise WorkspaceError(f"The foundation model {identifier} is being worked on. Cancel that, then delete it.")
        self._refuse_if_analysed(f"foundations/{identifier}", f"The foundation model {identifier}")
        self._refuse_if_needed(folder)
        delete_folder(folder.path)

    def start_foundation(self, foundation: FoundationFolder) -> None:
        """Queue what was requested last: fetch the file if it has to be, read it, export the heads."""
        job = f"foundations/{foundation.id}"
        deadline = time.monotonic() + END_PATIENCE_SECONDS
        while self.queue.active_job(job) is not None:
            if foundation.state() in ("queued", "running") or time.monotonic() > deadline:
                raise WorkspaceError(
                    f"The foundation model {foundation.id} is being worked on. Wait, or cancel it first."
                )
            time.sleep(0.05)
        self.queue.enqueue("foundation", job, then=foundation.begin)

    def cancel_foundation(self, foundation: FoundationFolder) -> None:
        """End a waiting job at once, a running one within about a second."""
        foundation.cancel()
        self.queue.cancel(f"foundations/{foundation.id}", then=lambda: foundation.set_state("cancelled"))
