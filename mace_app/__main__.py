"""The command line: ``python -m mace_app COMMAND``; ``--help`` lists the commands.

Nothing heavy is imported before a command needs it, so that help is instant.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mace_app.jobs import RunFolder
    from mace_app.tasks.foundation_command import Wanted
    from mace_app.tasks.launching import Place

DESCRIPTION = "Train, check and export MACE potentials. The browser app starts with `streamlit run app.py`."
FAILED = 2


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m mace_app", description=DESCRIPTION)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model as an options file says", description=train_.__doc__)
    train.add_argument("options", type=Path, help="options.yaml; with --resume also the folder of a run")
    train.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="run folder (default: a new one in the workspace)"
    )
    train.add_argument("--name", help="name of the run (default: the options file's)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    _threads(train)
    train.set_defaults(call=train_)

    export = commands.add_parser("export", help="write a trained model for simulations", description=export_.__doc__)
    export.add_argument(
        "model",
        type=Path,
        nargs="+",
        help="run folder, checkpoint (.safetensors), or one or more published MACE files (.model)",
    )
    _heads(export)
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("model.pt"),
        metavar="FILE",
        help="file to write (%(default)s); with several files or heads the folder",
    )
    export.add_argument(
        "--structures", type=Path, metavar="FILE", help="structures to check it on (default: the run's)"
    )
    export.set_defaults(call=export_)

    foundation = commands.add_parser(
        "foundation", help="download published MACE files and export them", description=foundation_.__doc__
    )
    foundation.add_argument("name", nargs="*", help="which ones (default: list them)")
    foundation.add_argument("--list", action="store_true", help="list the files that can be downloaded")
    foundation.add_argument(
        "--accept-licence", action="store_true", help="you accept the licence of files that may not be used freely"
    )
    _heads(foundation)
    foundation.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="export to this file; with several files or heads the folder"
    )
    foundation.add_argument("--structures", type=Path, metavar="FILE", help="structures to check it on as well")
    foundation.set_defaults(call=foundation_)

    evaluate = commands.add_parser(
        "evaluate", help="errors of a model on labelled structures", description=evaluate_.__doc__
    )
    evaluate.add_argument("model", type=Path, help="run folder, checkpoint (.safetensors) or a published MACE (.model)")
    evaluate.add_argument("--head", metavar="NAME", help="which head of a .model with several")
    evaluate.add_argument("data", type=Path, nargs="+", help="files of structures, or a .yaml with data sets")
    evaluate.add_argument("-o", "--output", type=Path, metavar="FILE", help="write predictions to this .xyz or .npz")
    evaluate.add_argument("--batch-size", type=int, default=16, metavar="N", help="structures at once (%(default)s)")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    evaluate.add_argument("--json", action="store_true", help="print the errors as JSON")
    _threads(evaluate)
    evaluate.set_defaults(call=evaluate_)

    analyse = commands.add_parser(
        "analyse", help="predictions beside labels, as tables to look into", description=analyse_.__doc__
    )
    analyse.add_argument(
        "model",
        type=Path,
        help="run folder, checkpoint (.safetensors), a published MACE (.model), or the model.pt in a run folder",
    )
    analyse.add_argument(
        "data",
        type=Path,
        nargs="*",
        help="files of structures, or a .yaml with data sets (default: the run's own structures)",
    )
    analyse.add_argument("--head", metavar="NAME", help="which head of a .model with several")
    analyse.add_argument(
        "--which",
        choices=("best", "last"),
        default="best",
        help="weights of the run's best or last epoch (%(default)s)",
    )
    analyse.add_argument(
        "-o", "--output", type=Path, default=Path("analysis"), metavar="FOLDER", help="folder to write (%(default)s)"
    )
    analyse.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    _threads(analyse)
    analyse.set_defaults(call=analyse_)

    inspect = commands.add_parser(
        "inspect", help="what is in files of structures, or in a MACE file", description=inspect_.__doc__
    )
    inspect.add_argument("files", type=Path, nargs="+", help="files of structures, for example .xyz; or one .model")
    inspect.add_argument("--json", action="store_true", help="print everything that was found as JSON")
    inspect.set_defaults(call=inspect_)

    options = commands.add_parser("options", help="check, complete or translate options", description=options_.__doc__)
    options.add_argument("options", type=Path, help="options.yaml of ours or of metatrain, or a run folder")
    options.add_argument(
        "--for",
        dest="program",
        choices=("mace-studio", "mtt"),
        default="mace-studio",
        help="the program that shall read it: this one, or metatrain's mtt (%(default)s)",
    )
    options.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: the terminal)")
    options.set_defaults(call=options_)

    largest = commands.add_parser(
        "largest-batch", help="how many structures fit into one batch", description=largest_batch_.__doc__
    )
    largest.add_argument("options", type=Path, help="options.yaml, or a run folder")
    _threads(largest)
    largest.set_defaults(call=largest_batch_)

    sbatch = commands.add_parser(
        "sbatch", help="a SLURM job that trains, to edit or to hand in", description=sbatch_.__doc__
    )
    sbatch.add_argument("options", type=Path, help="options.yaml")
    sbatch.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="run folder")
    sbatch.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (%(default)s)")
    sbatch.add_argument(
        "--tasks", type=int, default=1, metavar="N", help="processes on each machine, with a GPU each (%(default)s)"
    )
    sbatch.add_argument("--no-gpus", action="store_true", help="train on CPUs")
    sbatch.add_argument("--cpus", type=int, default=4, metavar="N", help="cores for each process (%(default)s)")
    sbatch.add_argument("--time", default="24:00:00", help="as sbatch reads it (%(default)s)")
    sbatch.add_argument("--partition", metavar="NAME")
    sbatch.add_argument("--account", metavar="NAME")
    sbatch.add_argument(
        "--file", type=Path, metavar="FILE", help="file to write (default: beside the run folder, FOLDER.sbatch)"
    )
    sbatch.add_argument("--submit", action="store_true", help="hand it in at once, through submitit")
    sbatch.set_defaults(call=sbatch_)

    from mace_app.jobs.command import add_arguments

    runs = commands.add_parser("runs", help="the runs and the queue of a workspace", description=runs_.__doc__)
    add_arguments(runs)
    runs.set_defaults(call=runs_)

    work = commands.add_parser(
        "work",
        description="Do the work of the folder of a run, a foundation model or an analysis; started by the supervisor.",
    )
    work.add_argument("folder", type=Path)
    work.add_argument("--aloud", action="store_true", help="show the log, as train does")
    _threads(work)
    work.set_defaults(call=work_)
    return root


def _heads(command: argparse.ArgumentParser) -> None:
    command.add_argument("--head", metavar="NAME", action="append", help="a head of a .model with several; repeatable")
    command.add_argument("--all-heads", action="store_true", help="every head of each .model")
    command.add_argument(
        "--precision", choices=("float32", "float64"), help="of what a .model becomes (default: as in the file)"
    )


def _threads(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads to compute with")


def train_(arguments: argparse.Namespace) -> int:
    """Train as an options file says. Everything goes into one folder: log, metrics, checkpoints, the exported model."""
    from mace_app.options import load_options
    from mace_app.tasks.folders import continued_run, new_run, resume_hint

    _follow_if_not_first(arguments)
    if arguments.resume:
        run = continued_run(arguments.options, arguments.output)
    else:
        options = load_options(arguments.options, check_files=True)
        run = new_run(options, arguments.output, arguments.name or arguments.options.stem)
    print(f"Run folder: {run.path}", file=sys.stderr, flush=True)
    outcome = _train(run.path, arguments, quiet=False)
    if outcome == 0:
        print(f"Model: {run.model_file}" if run.model_file.exists() else "There is no exported model.", file=sys.stderr)
    if run.info().state in ("stopped", "interrupted"):
        print(resume_hint(run), file=sys.stderr)
    return outcome


def _follow_if_not_first(arguments: argparse.Namespace) -> None:
    """What srun started beside the first process makes no run folder: it waits to be told of one, and ends here."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        return
    from mace_app.jobs import RunFolder
    from mace_app.options import load_options
    from mace_app.tasks.launching import place_of

    given = arguments.options
    options = RunFolder(given).options() if given.is_dir() else load_options(given)
    training = options.architecture.training
    place = place_of(os.environ, training.distributed_port) if training.distributed else None
    if place is None:
        return
    from mace_app.tasks.group import follow, leave

    leave(follow(place, arguments.threads))


def work_(arguments: argparse.Namespace) -> int:
    """The work of a folder, without a terminal; how it ends is in its ``run.json`` or ``state.json``."""
    from mace_app.jobs.workspace import look_after_neighbours

    work = _light_work(arguments.folder)
    if work is not None:
        try:
            outcome = work()
        finally:
            look_after_neighbours(arguments.folder)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(outcome)  # all is written; taking large models apart would make the next job wait for seconds
    try:
        return _train(arguments.folder, arguments, quiet=not arguments.aloud)
    finally:
        look_after_neighbours(arguments.folder)


def _light_work(folder: Path) -> Callable[[], int] | None:
    """What there is to do in the folder of a foundation model or an analysis; None for a run's."""
    if (folder / "source.json").is_file():
        from mace_app.jobs import FoundationFolder
        from mace_app.tasks.foundation_job import work_foundation

        return lambda: work_foundation(FoundationFolder(folder))
    if (folder / "request.json").is_file():
        from mace_app.jobs import AnalysisFolder
        from mace_app.tasks.analysis_job import work_analysis

        return lambda: work_analysis(AnalysisFolder(folder))
    return None


def _train(folder: Path, arguments: argparse.Namespace, quiet: bool) -> int:
    from mace_app.jobs import RunFolder
    from mace_app.jobs.endings import DISK_FULL_STATUS
    from mace_app.jobs.errors import DiskFull

    run = RunFolder(folder)
    place = _place(run)
    if place is None:
        launched = _launched(run, arguments, quiet)
        if launched is not None:
            return launched
    elif place.rank > 0:
        from mace_app.tasks.group import follow, leave

        leave(follow(place, arguments.threads))
    from mace_app.tasks.launching import end_with
    from mace_app.tasks.terminal import Terminal
    from mace_app.tasks.train import train_run

    terminal = None if quiet else Terminal()
    try:
        written = arguments.written if place is None or place.command is None else place.command
        if place is not None:
            end_with(place.launcher)
        outcome = train_run(run, terminal, arguments.threads, written, place)
    except DiskFull as error:
        print(error, file=sys.stderr)
        return DISK_FULL_STATUS
    finally:
        if terminal is not None:
            terminal.close()
    if place is not None and place.launcher is not None:
        from mace_app.tasks.group import leave

        leave(0)  # the launcher reads how it ended; torchrun would say much about another status
    return FAILED if outcome in ("failed", "interrupted") else 0


def _place(run: "RunFolder") -> "Place | None":
    """Which process of a training in several this is; None if its options ask for no such thing."""
    from mace_app.jobs import JobsError
    from mace_app.options import OptionsError
    from mace_app.tasks.launching import place_of

    try:
        training = run.options().architecture.training
    except (JobsError, OptionsError):
        return None  # said where a run's failures are said
    return place_of(os.environ, training.distributed_port) if training.distributed else None


def _launched(run: "RunFolder", arguments: argparse.Namespace, quiet: bool) -> int | None:
    """Train in several processes, if the options want that; None if not."""
    from mace_app.jobs import JobsError
    from mace_app.options import OptionsError
    from mace_app.tasks.launching import launch, local_processes

    try:
        options = run.options()
    except (JobsError, OptionsError):
        return None
    count = local_processes(options, os.environ)
    if count == 1:
        return None
    return 0 if launch(run, options, count, arguments.written, arguments.threads, quiet) else FAILED


def export_(arguments: argparse.Namespace) -> int:
    """Write a trained model after a fresh process agreed with it on real structures: FILE.pt for metatomic (all
    targets), FILE.model for mace-torch (the energy of MACE's own readouts). A published MACE file (.model) is read
    without executing anything in it, and compared with mace-torch's own model."""
    from mace_app.tasks.export import export_model

    if all(path.suffix == ".model" and path.is_file() for path in arguments.model):
        from mace_app.tasks.foundation_command import export_files

        return 0 if export_files(arguments.model, _wanted(arguments)) else FAILED
    for option, given in (("--head", arguments.head), ("--all-heads", arguments.all_heads)):
        if given:
            print(f"{option} chooses among the heads of a .model file; leave it out.", file=sys.stderr)
            return FAILED
    if arguments.precision is not None:
        print("--precision is for .model files; a trained model keeps its own.", file=sys.stderr)
        return FAILED
    if len(arguments.model) > 1:
        wrong = next(path for path in arguments.model if path.suffix != ".model" or not path.is_file())
        print(f"Several files at once must all be .model files; `{wrong}` is none.", file=sys.stderr)
        return FAILED
    report = export_model(arguments.model[0], arguments.output, arguments.structures)
    for check in report.checks:
        print(check)
    left_out = getattr(report, "left_out", [])
    if left_out:
        print(f"Left out, as mace-torch's own format can't hold them: {', '.join(left_out)}")
    print(f"Model: {arguments.output}")
    return 0


def foundation_(arguments: argparse.Namespace) -> int:
    """List the published MACE files, or download some through mace-torch into its own cache, check them and say where
    they lie. With -o they are exported as well."""
    if arguments.list or not arguments.name:
        from mace_app.tasks.catalogue import catalogue

        print(catalogue())
        return 0
    from mace_app.tasks.foundation_command import fetch_files

    wanted = None if arguments.output is None else _wanted(arguments)
    if wanted is None and (arguments.head or arguments.all_heads or arguments.precision or arguments.structures):
        print("Heads, precision and structures matter for an export only; name its file with -o.", file=sys.stderr)
        return FAILED
    return 0 if fetch_files(arguments.name, arguments.accept_licence, wanted) else FAILED


def _wanted(arguments: argparse.Namespace) -> "Wanted":
    from mace_app.tasks.foundation_command import Wanted

    return Wanted(
        arguments.output,
        tuple(arguments.head or ()),
        arguments.all_heads,
        arguments.structures,
        arguments.precision,
    )


def evaluate_(arguments: argparse.Namespace) -> int:
    """Errors of a model on labelled structures. Keys of the labels are those of the run, unless a .yaml names them."""
    from mace_app.tasks.evaluate import evaluate_model

    print(
        evaluate_model(
            arguments.model,
            arguments.data,
            output=arguments.output,
            batch_size=arguments.batch_size,
            device=arguments.device,
            as_json=arguments.json,
            threads=arguments.threads,
            head=arguments.head,
        )
    )
    return 0


def analyse_(arguments: argparse.Namespace) -> int:
    """Write every prediction of a model beside its label, structure by structure, and print the errors. The columns are
    described in docs/analysis-files.md."""
    from mace_app.tasks.analyse import analyse_model

    print(
        analyse_model(
            arguments.model,
            arguments.data,
            arguments.output,
            which=arguments.which,
            head=arguments.head,
            device=arguments.device,
            threads=arguments.threads,
        )
    )
    return 0


def inspect_(arguments: argparse.Namespace) -> int:
    """What files of structures hold: keys with coverage and ranges, elements, sizes, and what looks wrong. Of a MACE
    file (.model) its heads, elements, architecture and licence, read without executing anything in it."""
    if any(path.suffix == ".model" for path in arguments.files):
        from mace_app.tasks.foundation_facts import inspect_foundation

        print("\n\n".join(inspect_foundation(path, arguments.json) for path in arguments.files))
        return 0
    from mace_app.tasks.inspect import inspect_structures

    print(inspect_structures(arguments.files, arguments.json))
    return 0


def options_(arguments: argparse.Namespace) -> int:
    """Check an options file and write it with every default, or as a file for metatrain's `mtt train`; what metatrain
    can't carry or does differently is said in sentences."""
    from mace_app.tasks.options_files import written_options

    text, said = written_options(arguments.options, arguments.program)
    for sentence in said:
        print(sentence, file=sys.stderr)
    if arguments.output is None:
        print(text, end="")
    else:
        arguments.output.write_text(text, encoding="utf-8")
        print(f"Options: {arguments.output}", file=sys.stderr)
    return 0


def largest_batch_(arguments: argparse.Namespace) -> int:
    """Try batches of growing size, the heaviest that a training with these options would meet: how much memory they
    need, how fast they are, and which `batch_size` fits. Nothing is trained or written."""
    from mace_app.tasks.largest_batch import largest_batch

    print(largest_batch(arguments.options, lambda line: print(line, flush=True), arguments.threads))
    return 0


def sbatch_(arguments: argparse.Namespace) -> int:
    """Write a batch script for SLURM that trains as an options file says, in one or more processes. Handed in again it
    continues the run. With --submit the job is handed in at once instead, through the package submitit."""
    from mace_app.tasks.slurm import SlurmJob, submit, write_script

    job = SlurmJob(
        arguments.options,
        arguments.output,
        nodes=arguments.nodes,
        tasks=arguments.tasks,
        gpus=not arguments.no_gpus,
        cpus=arguments.cpus,
        time=arguments.time,
        partition=arguments.partition,
        account=arguments.account,
    )
    if arguments.submit:
        print(f"Job {submit(job).job_id}; run folder: {arguments.output}")
        return 0
    file = arguments.file or arguments.output.with_name(f"{arguments.output.name}.sbatch")
    write_script(job, file)
    print(f"Hand it in with: sbatch {file}")
    return 0


def runs_(arguments: argparse.Namespace) -> int:
    """What the Runs page does: show, queue, order, hold, stop, resume, tag, archive, delete, import."""
    from mace_app.jobs.command import run_action

    print(run_action(arguments))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["supervise"]:
        from mace_app.jobs.supervisor import main as supervise

        return supervise(arguments[1:])
    parsed = parser().parse_args(arguments)
    parsed.written = [sys.executable, "-m", "mace_app", *arguments]
    return _said(parsed.call, parsed)


def _said(call: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; what a person did wrong is said in sentences, one a line."""
    try:
        return call(arguments)
    except _expected() as error:
        print(error, file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        return 1  # the reader, such as `head`, has seen enough
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _expected() -> tuple[type[Exception], ...]:
    """Errors whose text is written for people. Those that need torch can only occur once it is loaded."""
    if "torch" in sys.modules:
        from mace_app.tasks.errors import EXPECTED

        return EXPECTED
    from mace_app.data import DataError
    from mace_app.jobs import JobsError
    from mace_app.options import OptionsError

    return (DataError, JobsError, OptionsError)


if __name__ == "__main__":
    sys.exit(main())
