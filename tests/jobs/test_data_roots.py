"""Which files of the machine a page may name."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mace_app.jobs import Workspace, WorkspaceError
from mace_app.jobs.data_roots import DATA_ROOTS_VARIABLE
from mace_app.options import parse_options

XYZ = "1\nenergy=0.0\nH 0 0 0\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "good.xyz").write_text(XYZ)
    (tmp_path / "secret.xyz").write_text(XYZ)
    monkeypatch.setenv(DATA_ROOTS_VARIABLE, os.pathsep.join([str(folder), str(tmp_path / "more")]))
    return folder


def test_without_the_variable_any_file_may_be_named(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "anywhere.xyz").write_text(XYZ)
    assert workspace.add_dataset("", str(tmp_path / "anywhere.xyz")).source_path == tmp_path / "anywhere.xyz"


def test_files_below_a_root_and_below_the_workspace_may_be_named(workspace: Workspace, root: Path) -> None:
    assert workspace.add_dataset("", str(root / "good.xyz")).source_path == root / "good.xyz"
    with (root / "good.xyz").open("rb") as stream:
        uploaded = workspace.add_dataset("x", stream, original="good.xyz")
    assert workspace.add_dataset("", str(uploaded.source_path)).info().path == uploaded.source_path


@pytest.mark.parametrize("name", ["../secret.xyz", "good.xyz/../../secret.xyz", "./.././secret.xyz"])
def test_no_way_up_leads_out_of_a_root(workspace: Workspace, root: Path, name: str) -> None:
    with pytest.raises(WorkspaceError, match="outside the folders"):
        workspace.add_dataset("", f"{root}/{name}")
    assert workspace.datasets() == []


def test_a_symbolic_link_is_followed_before_it_is_judged(workspace: Workspace, root: Path, tmp_path: Path) -> None:
    (root / "link.xyz").symlink_to(tmp_path / "secret.xyz")
    (root / "folder").symlink_to(tmp_path)
    for name in ("link.xyz", "folder/secret.xyz"):
        with pytest.raises(WorkspaceError, match="outside the folders"):
            workspace.add_dataset("", str(root / name))
    with pytest.raises(WorkspaceError, match="outside the folders"):
        workspace.add_dataset("", f"/proc/self/root{tmp_path}/secret.xyz")
    (root / "round").symlink_to(root / "round")
    with pytest.raises(WorkspaceError):
        workspace.add_dataset("", str(root / "round"))


def test_a_folder_whose_name_only_begins_like_a_root_is_none(workspace: Workspace, root: Path) -> None:
    beside = root.with_name("data-of-others")
    beside.mkdir()
    (beside / "a.xyz").write_text(XYZ)
    with pytest.raises(WorkspaceError, match="outside the folders"):
        workspace.add_dataset("", str(beside / "a.xyz"))


def test_a_refusal_does_not_tell_whether_there_is_a_file(workspace: Workspace, root: Path, tmp_path: Path) -> None:
    said = []
    for name in ("secret.xyz", "nothing.xyz"):
        with pytest.raises(WorkspaceError) as refusal:
            workspace.add_dataset("", str(tmp_path / name))
        said.append(str(refusal.value).replace(name, ""))
    assert said[0] == said[1]


def test_nothing_set_means_the_workspace_only(
    workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_ROOTS_VARIABLE, "")
    with pytest.raises(WorkspaceError, match="Upload the file instead"):
        workspace.add_dataset("", str(root / "good.xyz"))


@pytest.mark.parametrize("confined", [True, False])
@pytest.mark.parametrize(
    "path", ["/proc/self/environ", "/proc/1/cmdline", "/dev/zero", "/dev/stdin", "/sys/kernel/notes"]
)
def test_files_of_the_system_are_no_data(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, path: str, confined: bool
) -> None:
    if confined:
        monkeypatch.setenv(DATA_ROOTS_VARIABLE, "/")
    with pytest.raises(WorkspaceError):
        workspace.add_dataset("", path)


@pytest.fixture
def odd_files(tmp_path: Path) -> Iterator[list[Path]]:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        yield [tmp_path / "pipe", tmp_path / "socket", tmp_path]


def test_what_is_no_regular_file_is_not_opened(workspace: Workspace, odd_files: list[Path]) -> None:
    for path in odd_files:
        with pytest.raises(WorkspaceError, match="is not a file"):
            workspace.add_dataset("", str(path))


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~nobody-of-this-name/x.xyz", "\ud800"])
def test_paths_that_can_be_none_are_sentences(workspace: Workspace, path: str) -> None:
    with pytest.raises(WorkspaceError):
        workspace.add_dataset("", path)


def options_naming(secret: str, good: str) -> list[dict[str, object]]:
    """Options that name a file outside, each in another place."""
    energy = {"quantity": "energy", "key": "energy", "unit": "eV"}
    return [
        {"training_set": secret},
        {"training_set": good, "validation_set": secret},
        {"training_set": good, "validation_set": {"indices": secret}},
        {"training_set": {"systems": {"read_from": good}, "targets": {"energy": {**energy, "read_from": secret}}}},
        {"training_set": good, "architecture": {"training": {"atomic_baseline": secret}}},
    ]


@pytest.mark.parametrize("place", range(5))
def test_options_name_files_below_the_roots_only(workspace: Workspace, root: Path, tmp_path: Path, place: int) -> None:
    options = parse_options(options_naming(str(tmp_path / "secret.xyz"), str(root / "good.xyz"))[place])
    problems = workspace.file_problems(options)
    assert len(problems) == 1 and "outside the folders" in problems[0].message
    with pytest.raises(WorkspaceError, match="outside the folders"):
        workspace.create_run(options, "run")
    assert workspace.runs() == []
