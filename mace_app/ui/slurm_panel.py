"""A training for a cluster: a batch script for SLURM that carries its options."""

from pathlib import Path

import streamlit as st

from mace_app.jobs import JobsError
from mace_app.jobs.slurm_script import SlurmJob, script_with_options
from mace_app.options import OptionsError, RunOptions
from mace_app.ui.state import failure


def slurm_panel(options: RunOptions, name: str, key: str) -> None:
    """A closed panel with the resources of the job and a download; ``name`` is that of file and run folder."""
    panel = st.expander("Train on a cluster with SLURM", icon=":material/dns:", key=key, on_change="rerun")
    if not panel.open:
        return
    with panel:
        st.markdown(
            "The script carries these options. Put it on a disk of the cluster and hand it in with `sbatch`; handed in "
            "again, it goes on with the run. Its first lines say where Python and MACE Studio are, and the options "
            "where the data are, all as on this machine: change them where the cluster has them elsewhere. *Import* on "
            "the page Runs brings the finished folder here."
        )
        with st.grid(4, min_column_width=180, gap="medium") as grid:
            with grid.cell():
                nodes = st.number_input("Machines", 1, 1024, 1, key=f"{key}-nodes")
            with grid.cell():
                tasks = st.number_input(
                    "Processes on each",
                    1,
                    64,
                    1,
                    key=f"{key}-tasks",
                    help="One for each GPU. Several share the structures of every batch and train one model.",
                )
            with grid.cell():
                cpus = st.number_input("Cores for each process", 1, 512, 4, key=f"{key}-cpus")
            with grid.cell():
                time = st.text_input(
                    "Time",
                    "24:00:00",
                    key=f"{key}-time",
                    help="As sbatch reads it: hours:minutes:seconds or days-hours.",
                )
            with grid.cell():
                partition = st.text_input("Partition", key=f"{key}-partition", placeholder="the default one")
            with grid.cell():
                account = st.text_input("Account", key=f"{key}-account", placeholder="the default one")
        gpus = st.toggle("A GPU for each process", value=True, key=f"{key}-gpus")
        job = SlurmJob(
            Path(f"{name}.yaml"),
            Path(name),
            nodes=int(nodes),
            tasks=int(tasks),
            gpus=gpus,
            cpus=int(cpus),
            time=time.strip(),
            partition=partition.strip() or None,
            account=account.strip() or None,
        )
        try:
            text = script_with_options(job, options)
        except (JobsError, OptionsError) as error:
            failure("This job can't be written", error)
            return
        if job.nodes * job.tasks > 1:
            st.caption("For several processes `distributed: true` is set in the options of the script.")
        st.download_button(
            f"Download {name}.sbatch",
            data=text,
            file_name=f"{name}.sbatch",
            mime="text/x-shellscript",
            icon=":material/download:",
            key=f"{key}-download",
            on_click="ignore",
        )
