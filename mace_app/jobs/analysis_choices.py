"""What a person chose to compare, looked up in the workspace: files, checksums, names, refusals in sentences."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.jobs.analysis_folder import FOLDER_NAME, DataChoice, ModelChoice
from mace_app.jobs.checkpoint_files import NoCheckpoint, checkpoint_header
from mace_app.jobs.data_roots import resolved
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.exported_files import about_export, exported_file
from mace_app.jobs.foundation_folder import FoundationFolder
from mace_app.jobs.run_folder import RunFolder

if TYPE_CHECKING:
    from mace_app.jobs.workspace_analyses import WorkspaceAnalyses

FOUNDATION_TARGET = "energy"


@dataclass(frozen=True)
class ModelAsked:
    """``about`` goes into the request; ``identity`` changes with the weights; ``parent`` holds the model's analyses.

    ``targets``: whether each of the model's targets is an energy. ``checkpoint`` is a run's file to keep a copy of;
    ``splits`` changes with a run's own structures, None for a model without any.
    """

    about: dict[str, Any]
    identity: Any
    parent: Path
    targets: dict[str, bool]
    checkpoint: Path | None = None
    splits: str | None = None

    def with_weights(self, kept: Path) -> "ModelAsked":
        """With the epoch and the signature of the checkpoint that was kept."""
        assert self.checkpoint is not None
        try:
            epoch = checkpoint_header(kept)["epoch"]
        except (OSError, NoCheckpoint) as error:
            raise WorkspaceError(
                f"The checkpoint {self.checkpoint} can't be read: {error}. Choose the other one, or resume the run."
            ) from error
        if self.about["kind"] == "file":
            return self
        status = kept.stat()
        return replace(self, about={**self.about, "epoch": epoch}, identity=[epoch, status.st_size, status.st_mtime_ns])


def model_asked(workspace: "WorkspaceAnalyses", choice: ModelChoice) -> ModelAsked:
    """WorkspaceError for a model that is not there, or not ready."""
    chosen = [value for value in (choice.run, choice.foundation, choice.file) if value is not None]
    if len(chosen) != 1:
        raise WorkspaceError("Choose one model to analyse: a run, a foundation model or an exported file.")
    if choice.run is not None:
        return _run_asked(workspace.run(choice.run), choice)
    if choice.foundation is not None:
        return _foundation_asked(workspace.foundation(choice.foundation), choice)
    return _file_asked(workspace, Path(choice.file or ""))


def _run_asked(run: RunFolder, choice: ModelChoice) -> ModelAsked:
    if choice.head is not None:
        raise WorkspaceError(f"The run {run.id} has no heads to choose from; only a foundation model has.")
    if choice.which not in ("best", "last"):
        raise WorkspaceError(f"The weights of a run are `best` or `last`, not {choice.which!r}.")
    checkpoint = run.path / "checkpoints" / f"{choice.which}.safetensors"
    if not checkpoint.is_file():
        raise WorkspaceError(
            f"The run {run.id} has no `{choice.which}` checkpoint yet. Wait for its first epoch, or resume it."
        )
    info = run.info()
    about = {
        "kind": "run",
        "id": run.id,
        "name": info.name,
        "path": str(run.path.resolve()),
        "which": choice.which,
    }
    targets = {name: target.is_energy for name, target in run.options().targets().items()}
    return ModelAsked(about, None, run.path / FOLDER_NAME, targets, checkpoint, _splits_of(run))


def _splits_of(run: RunFolder) -> str:
    """Changes with the files a run was trained on and with which of their structures it used for what."""
    import yaml

    options = yaml.safe_load(run.options_text())
    sets = {name: options.get(name) for name in ("training_set", "validation_set", "test_set")}
    files = [entry.get("sha256") for entry in run.info().data or []]
    text = json.dumps([sets, files, run.splits()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _foundation_asked(foundation: FoundationFolder, choice: ModelChoice) -> ModelAsked:
    facts = foundation.facts()
    if facts is None:
        raise WorkspaceError(f"The foundation model {foundation.id} has not been read yet. Wait until it is.")
    heads = facts["heads"]
    listed = ", ".join(f"`{name}`" for name in heads)
    if choice.head is None and len(heads) > 1:
        raise WorkspaceError(f"The foundation model {foundation.id} has several heads; choose one of {listed}.")
    head = heads[0] if choice.head is None else choice.head
    if head not in heads:
        raise WorkspaceError(f"The foundation model {foundation.id} has no head `{head}`; it has {listed}.")
    path = foundation.source_path
    about = {
        "kind": "foundation",
        "id": foundation.id,
        "name": foundation.name,
        "path": str(path),
        "head": head,
        "sha256": facts["sha256"],
    }
    return ModelAsked(about, facts["sha256"], foundation.path / FOLDER_NAME, {FOUNDATION_TARGET: True})


def _file_asked(workspace: "WorkspaceAnalyses", path: Path) -> ModelAsked:
    root = workspace.root.resolve()
    if not resolved(path).is_relative_to(root):
        raise WorkspaceError(
            f"{path} is not in this workspace. Name an export of one of its runs or foundation models."
        )
    exported = exported_file(path)
    about, parent = about_export(exported), workspace.root / FOLDER_NAME
    if exported.run is None:
        return ModelAsked(about, exported.sha256, parent, {FOUNDATION_TARGET: True})
    own = _run_asked(exported.run, ModelChoice(run=exported.run.id))
    return replace(own, about=about, identity=exported.sha256, parent=parent)


def data_asked(workspace: "WorkspaceAnalyses", model: ModelAsked, choice: DataChoice) -> dict[str, Any]:
    """The ``data`` of a request; WorkspaceError where nothing of them can be compared."""
    if choice.dataset is None:
        if model.splits is None:
            raise WorkspaceError(f"{model.about['name']} has no structures of its own. Choose a dataset to compare.")
        workspace.refuse_foreign_files(workspace.run(model.about["id"]).options())  # an imported run may name any file
        return {"kind": "splits", "sha256": model.splits}
    dataset = workspace.dataset(choice.dataset)
    mapping = dataset.mapping()
    if not mapping or not mapping.get("targets"):
        raise WorkspaceError(
            f"The dataset {dataset.name} says of no key what it means. Map its keys to targets on the Datasets page."
        )
    path = dataset.source_path
    return {
        "kind": "dataset",
        "id": dataset.id,
        "name": dataset.name,
        "path": str(path),
        "sha256": dataset.sha256(),
        "length_unit": mapping.get("length_unit", ""),
        "targets": compared_targets(mapping["targets"], model.targets, choice.targets, dataset.name),
        "extra_data": mapping.get("extra_data", {}),
    }


def compared_targets(
    there: Mapping[str, Any], wanted: Mapping[str, bool], chosen: Mapping[str, str] | None, dataset: str
) -> dict[str, Any]:
    """Targets of the data set under the names of the model's: as ``chosen``, else by equal names, else the only energy
    of one with the only energy of the other."""
    if chosen is None:
        pairs = {name: name for name in wanted if name in there}
        mine = [name for name, energy in wanted.items() if energy]
        theirs = [name for name, entry in there.items() if _is_energy(name, entry)]
        if not any(name in pairs for name in mine) and len(mine) == len(theirs) == 1:
            pairs[mine[0]] = theirs[0]
    else:
        pairs = dict(chosen)
    for name, source in pairs.items():
        if name not in wanted:
            raise WorkspaceError(f"The model has no target `{name}`; it has {_listed(wanted)}.")
        if source not in there:
            raise WorkspaceError(f"The dataset {dataset} has no target `{source}`; it has {_listed(there)}.")
    if not pairs:
        raise WorkspaceError(
            f"Nothing can be compared: the model has {_listed(wanted)}, but the dataset {dataset} has "
            f"{_listed(there)}. Say which belong together."
        )
    return {name: _renamed(source, there[source], wanted[name]) for name, source in pairs.items()}


def _is_energy(name: str, target: Any) -> bool:
    return (target or {}).get("quantity") == "energy" or name.split("/")[0] == "energy"


def _renamed(name: str, target: Any, energy: bool) -> dict[str, Any]:
    """What the name alone said is written out."""
    written = dict(target or {})
    if energy and _is_energy(name, target):
        written["quantity"] = "energy"
    return {**written, "key": written.get("key") or name}


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
