"""``python -m mace_app runs``: what the Runs page does with the runs and the queue of a workspace, for a terminal."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from mace_app.jobs.errors import JobsError
from mace_app.jobs.queue import Move
from mace_app.jobs.workspace import Workspace

Action = Callable[[Workspace, argparse.Namespace], str]


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workspace", type=Path, metavar="FOLDER", help="default: MACE_APP_WORKSPACE, else ./workspace"
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, call: Action, help: str, run: bool = True) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        if run:
            parser.add_argument("run", help="as `runs list` shows it")
        parser.set_defaults(action_call=call)
        return parser

    listing = action("list", _list, "show the runs and the queue", run=False)
    listing.add_argument("--all", action="store_true", help="archived ones too")
    adding = action("add", _add, "queue a training as an options file says", run=False)
    adding.add_argument("options", type=Path)
    adding.add_argument("--name", help="name of the run (default: the options file's)")
    adding.add_argument("--held", action="store_true", help="let it wait until it is released")
    stopping = action("stop", _stop, "stop a run and keep the best epoch")
    stopping.add_argument("--now", action="store_true", help="end at once, without an export")
    resuming = action("resume", _resume, "queue a run again, from its last checkpoint on")
    resuming.add_argument("--epochs", type=int, metavar="N", help="as the total, also for a finished run")
    resuming.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    action("suggestion", _suggestion, "make the change that is suggested for a failed run, and queue it again")
    moving = action("move", _move, "change the place of a waiting run")
    moving.add_argument("where", choices=get_args(Move))
    device = action("device", _device, "change where a waiting run shall run")
    device.add_argument("device", help="auto, cpu, cuda or cuda:N")
    action("hold", _hold, "let a waiting run wait until it is released")
    action("release", _release, "let a run go that was held")
    action("pause", _pause, "start no more runs; those at work go on", run=False)
    action("unpause", _unpause, "start waiting runs again", run=False)
    tagging = action("tag", _tag, "replace the tags of a run")
    tagging.add_argument("tags", nargs="*")
    noting = action("note", _note, "replace the note on a run")
    noting.add_argument("text")
    action("archive", _archive, "put a run that is over out of the way")
    action("unarchive", _unarchive, "bring an archived run back")
    deleting = action("delete", _delete, "delete a run that is over, with its models")
    deleting.add_argument("--keep-files", action="store_true", help="move its folder to removed/ instead")
    importing = action("import", _import, "copy a run folder from elsewhere, as data", run=False)
    importing.add_argument("folder", type=Path)
    importing.add_argument("--name", help="default: the name it had")


def run_action(arguments: argparse.Namespace) -> str:
    """Do it; gives what to print. Raises JobsError or OptionsError."""
    workspace = Workspace(arguments.workspace)
    call: Action = arguments.action_call
    said = call(workspace, arguments)
    workspace.look_after_jobs()
    return said


def _list(workspace: Workspace, arguments: argparse.Namespace) -> str:
    jobs = {job.folder: job for job in workspace.queue.active()}
    waiting = [job.folder for job in jobs.values() if job.state == "queued" and not job.light]
    rows: list[Sequence[str]] = []
    for run in workspace.runs():
        try:
            info = run.info()
        except JobsError as error:
            rows.append((run.id, "damaged", "", str(error)))
            continue
        if info.archived and not arguments.all:
            continue
        folder = f"runs/{run.id}"
        state: str = info.state
        if folder in waiting:
            state = f"{waiting.index(folder) + 1}. in line" + (", held" if jobs[folder].held else "")
        elif info.not_responding is not None:
            state += ", not responding"
        told = [f"[{', '.join(info.tags)}]"] if info.tags else []
        rows.append((run.id, state, info.name, " ".join([*told, info.reason or ""]).strip()))
    lines = ["The queue is paused."] if workspace.queue.paused else []
    if not rows:
        return "\n".join([*lines, f"There are no runs in {workspace.root}."])
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    return "\n".join(lines)


def _add(workspace: Workspace, arguments: argparse.Namespace) -> str:
    from mace_app.options import load_options

    options = load_options(arguments.options, check_files=True)
    return workspace.create_run(options, arguments.name or arguments.options.stem, held=arguments.held).id


def _stop(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.stop_run(arguments.run, "now" if arguments.now else "best")
    return "Stop requested."


def _resume(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.resume_run(arguments.run, num_epochs=arguments.epochs, device=arguments.device)
    return "Queued."


def _suggestion(workspace: Workspace, arguments: argparse.Namespace) -> str:
    return f"Queued: {workspace.apply_suggestion(arguments.run).id}"


def _move(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.move_run(arguments.run, arguments.where)
    return f"Place {workspace.queue.place(f'runs/{arguments.run}')}."


def _device(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.set_run_device(arguments.run, arguments.device)
    return f"It will run on {arguments.device}."


def _hold(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.hold_run(arguments.run)
    return "Held."


def _release(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.hold_run(arguments.run, held=False)
    return "Released."


def _pause(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.pause_queue()
    return "The queue is paused."


def _unpause(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.pause_queue(False)
    return "The queue goes on."


def _tag(workspace: Workspace, arguments: argparse.Namespace) -> str:
    tags = workspace.tag_run(arguments.run, arguments.tags)
    return f"Tags: {', '.join(tags) or 'none'}."


def _note(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.note_run(arguments.run, arguments.text)
    return "Noted."


def _archive(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.archive_run(arguments.run)
    return "Archived."


def _unarchive(workspace: Workspace, arguments: argparse.Namespace) -> str:
    workspace.archive_run(arguments.run, archived=False)
    return "Brought back."


def _delete(workspace: Workspace, arguments: argparse.Namespace) -> str:
    kept = workspace.delete_run(arguments.run, keep_files=arguments.keep_files)
    return "Deleted." if kept is None else f"Moved to {kept}."


def _import(workspace: Workspace, arguments: argparse.Namespace) -> str:
    imported = workspace.import_run(arguments.folder, arguments.name)
    return "\n".join([*imported.left_out, f"Imported as {imported.run.id}"])
