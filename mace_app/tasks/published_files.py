"""Published files: fetched once, believed only after they were read, and remembered by their checksum.

Nobody publishes checksums of these files. So the one of the first download is kept beside the file, in the form that
``sha256sum --check`` reads, and a file that has changed since is refused.
"""

from dataclasses import dataclass
from pathlib import Path

from mace_app.files import sha256_of, write_text
from mace_app.jobs.locks import locked
from mace_app.model.foundation import Foundation, FoundationError, open_foundation
from mace_app.model.foundation.fetching import cache_folder, fetch
from mace_app.published import DOWNLOADABLE, Published
from mace_app.tasks.errors import TaskError
from mace_app.tasks.phases import Phases


@dataclass(frozen=True)
class FetchedFile:
    """A file in mace-torch's cache, already read."""

    path: Path
    sha256: str
    foundation: Foundation


def published_model(key: str, licence_accepted: bool) -> Published:
    """The entry of the catalogue; TaskError if there is none or its licence has to be accepted first."""
    model = DOWNLOADABLE.get(key)
    if model is None:
        raise TaskError(f"There is no published model `{key}`; `python -m mace_app foundation` lists them.")
    if model.needs_consent and not licence_accepted:
        raise TaskError(f"{model.title} is under the {model.licence}. Add --accept-licence if you accept it.")
    return model


def fetch_published(model: Published, phases: Phases) -> FetchedFile:
    """The file of ``model``, downloaded unless it is there. FoundationError if it can't be had or isn't what it was."""
    phases.begin("downloading", f"Downloading {model.title}")
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FoundationError(
            f"The cache {folder} can't be made ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    with locked(folder / f".{model.key}.lock"):  # two at once would write the same half file
        path, downloaded = fetch(model, phases.count)
        phases.begin("reading", f"Reading {model.title}")
        sha256 = sha256_of(path)
        record = folder / f"{path.name}.sha256"
        known = record.read_text(encoding="utf-8").split() if record.is_file() and not downloaded else []
        if known and known[0] != sha256:
            raise FoundationError(
                f"{path} has changed since it was downloaded: its SHA-256 was {known[0]} and is {sha256}. It is not "
                "used; delete it to download it again."
            )
        try:
            foundation = open_foundation(path)
        except FoundationError as error:
            if not downloaded:
                raise FoundationError(f"{error} It was in the cache; delete {path} to download it again.") from error
            path.unlink()
            raise FoundationError(f"What was downloaded is not {model.title}, and was not kept: {error}") from error
        if not known:
            write_text(record, f"{sha256}  {path.name}\n")
    return FetchedFile(path, sha256, foundation)
