"""What was exported: downloads, how far each file is from the original MACE, and lines to run it."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from mace_app.jobs import FoundationExport, FoundationFolder
from mace_app.options import TargetInfo
from mace_app.ui.ase_code import ase_code
from mace_app.ui.charts import readable, three_digits, title_of
from mace_app.ui.download_list import DownloadLink, link_list
from mace_app.ui.elements import numbers
from mace_app.ui.engine_code import ipi_code, lammps_code
from mace_app.ui.report_tables import check_rows
from mace_app.ui.routes import foundation_url
from mace_app.ui.state import failure
from mace_app.ui.text import code, count, markdown
from mace_app.ui.times import duration, file_size

LAMMPS_ADDRESS = "https://docs.metatensor.org/metatomic/latest/engines/lammps.html"
TARGET = TargetInfo("energy", unit="eV", has_forces=True, has_stress=True)
PHYSICAL = ("energy", "energy.forces", "energy.stress")


def results(folder: FoundationFolder, facts: Mapping[str, Any], exports: Sequence[FoundationExport], key: str) -> None:
    """Every exported head; with several, one of them is looked at."""
    several = len(facts["heads"]) > 1
    download_links(folder, facts, exports, key, primary=True)
    chosen = exports[0]
    if len(exports) > 1:
        st.table([_overview(export) for export in exports], border="horizontal", hide_index=True, alt="Exported heads")
        heads = [export.head for export in exports]
        head = st.selectbox("Details of head", heads, key=f"{key}:head", width=320)
        chosen = next((export for export in exports if export.head == head), chosen)
    _details(facts, chosen, several, key)


def download_links(
    folder: FoundationFolder,
    facts: Mapping[str, Any],
    exports: Sequence[FoundationExport],
    key: str,
    primary: bool = False,
) -> None:
    """One link a file that was accepted; nothing if there is none."""
    several = len(facts["heads"]) > 1
    links = [
        DownloadLink(
            foundation_url(folder, export.name),
            export.name,
            f"Download {export.head}" if several else "Download for ASE, LAMMPS and i-PI",
            file_size(int(export.report.get("bytes", 0))),
            primary,
        )
        for export in exports
        if export.path is not None
    ]
    if links:
        link_list(links, f"{key}:files", f"Exported files of {folder.name}")


def _overview(export: FoundationExport) -> dict[str, str]:
    """One line a head: verdict and the largest differences."""
    checks = {check.get("label"): check for check in export.report.get("checks") or []}
    row = {
        "Head": code(export.head),
        "Result": ":green-badge[agrees]" if export.path is not None else ":red-badge[refused]",
    }
    for label in PHYSICAL:
        check = checks.get(label)
        text = "–"
        if check is not None:
            text = f"{three_digits(check.get('max_difference'))} {markdown(readable(check.get('unit') or ''))}"
        row[title_of(label)] = text
    return row


def _details(facts: Mapping[str, Any], export: FoundationExport, several: bool, key: str) -> None:
    report = export.report
    structures = report.get("structures") or []
    if export.refused is not None:
        if several:  # what became of a single head stands above
            failure("This head was not exported", ValueError(export.refused))
    else:
        head = f", head {code(export.head)}," if several else ""
        st.success(
            f"The exported file{head} agrees with the original MACE on {count(len(structures), 'structure')}: "
            "a fresh process, which knows nothing of this program, loaded it and compared.",
            icon=":material/verified:",
        )
    checks = report.get("checks") or []
    if checks:
        _differences(checks, structures)
    made = [f"{str(report.get('precision', '')).removeprefix('float')} bit"]
    if report.get("seconds") is not None:
        made.append(f"took {duration(report['seconds'])}")
    if report.get("sha256"):
        made.append(f"SHA-256 {code(report['sha256'])}")
    st.caption(" · ".join(made))
    if export.path is not None:
        _code(export.name, facts)


def _differences(checks: Sequence[Mapping[str, Any]], structures: Sequence[Mapping[str, Any]]) -> None:
    order = {label: place for place, label in enumerate(PHYSICAL)}
    ordered = sorted(checks, key=lambda check: order.get(check.get("label", ""), len(order)))
    physical = [check for check in ordered if check.get("label") in order]
    others = [check for check in ordered if check.get("label") not in order]
    st.markdown("**Differences from the original MACE**")
    st.table(
        difference_rows(physical),
        border="horizontal",
        hide_index=True,
        alt="Largest differences from the original MACE",
    )
    if structures:
        with st.expander(f"Each structure ({len(structures)})", icon=":material/list:"):
            st.table(
                structure_rows(structures, [str(check["label"]) for check in physical], physical),
                border="horizontal",
                hide_index=True,
                alt="Differences on each structure",
            )
    if others:
        with st.expander("Features, which the file gives besides", icon=":material/list:"):
            st.caption("Compared with this program's own model; the original MACE does not name them.")
            st.table(
                difference_rows(others),
                border="horizontal",
                hide_index=True,
                alt="Checks of features",
            )


def difference_rows(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One row a quantity: the verdict, the largest difference and what is allowed with its unit."""
    return [
        {
            "Quantity": row["Quantity"],
            "Result": row["Result"],
            "Largest difference": f"{row['Largest difference']} {row['Unit'].removeprefix('–')}".strip(),
            "Allowed": f"{row['Allowed']} {row['Unit'].removeprefix('–')}".strip(),
            "Structures": row["Structures"],
        }
        for row in check_rows({"export": {"checks": checks}})
    ]


def structure_rows(
    structures: Sequence[Mapping[str, Any]], labels: Sequence[str], checks: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """One row a structure; differences in the units of ``checks``."""
    units = {check["label"]: readable(str(check.get("unit") or "")) for check in checks}
    rows = []
    for structure in structures:
        source = str(structure.get("source") or "")
        differences = structure.get("differences") or {}
        rows.append(
            {
                "Structure": markdown(structure.get("formula", "")),
                "From": code(source) if source else "the file's elements",
                "Atoms": str(structure.get("atoms", "–")),
                "Periodic": "yes" if structure.get("periodic") else "no",
            }
            | {
                f"{markdown(title_of(label))} ({markdown(units[label])})": three_digits(differences.get(label))
                for label in labels
            }
        )
    return rows


def _code(file_name: str, facts: Mapping[str, Any]) -> None:
    st.markdown("**Run it**")
    ase, lammps, ipi = st.tabs(["ASE", "LAMMPS", "i-PI"])
    with ase:
        st.markdown(
            "Save a structure as `structure.xyz` beside the downloaded file. All that is needed is "
            "`pip install metatomic-ase`."
        )
        st.code(ase_code(file_name, [TARGET]), language="python")
    with lammps:
        st.markdown(
            f"Needs [the LAMMPS of metatomic]({LAMMPS_ADDRESS}): "
            '`conda install -c metatensor -c conda-forge "lammps-metatomic=*=*nompi*"`. '
            "Save this as `input.in` beside the file and `structure.data`; run `lmp -in input.in`."
        )
        st.code(lammps_code(file_name, numbers(facts["elements"])), language="bash")
    with ipi:
        st.markdown(
            "Needs `pip install ipi metatomic-torch vesin`. Save this as `input.xml` beside the file and a "
            "`structure.xyz` with a cell; run `i-pi input.xml`."
        )
        st.code(ipi_code(file_name), language="xml")
