"""A whole analysis as one HTML file: findings, tables, figures; no scripts, and nothing from elsewhere."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

import numpy as np

from mace_app.analysis.errors import Look, Pairs, by_structure, pairs, statistics, table, unit_of, worst
from mace_app.analysis.findings import findings
from mace_app.analysis.paper import Print, paper_figure
from mace_app.analysis.store import Analysis, Label

FIGURES = ("parity", "histogram", "cumulative")
BY = {"split": "Split", "dataset": "File", "group": "Group (config_type)", "element": "Element"}
MOST_GROUPS = 30
MOST_WORST = 10
_STYLE = """
:root { color-scheme: light dark; --ink: #1b2130; --soft: #596579; --line: #d5dae3; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf1; --soft: #a4aec0; --line: #39424f; --paper: #14181f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.soft, caption, figcaption { color: var(--soft); } caption { text-align: left; padding: .4rem 0; }
table { border-collapse: collapse; margin: .6rem 0 1.2rem; display: block; overflow-x: auto; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: 0 .6rem .6rem 0; vertical-align: top; }
figure img { background: #fff; border-radius: 4px; max-width: 100%; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


def html_report(analysis: Analysis, how: Print | None = None) -> str:
    """``how`` is the size and font of the figures. Text from files stands in it as text."""
    how = how or Print(width=72, height=64, font_size=7)
    model = analysis.info.model
    name = str(model.get("name") or model.get("id") or "Model")
    head = [f"<h1>Errors of {escape(name)}</h1>", f'<p class="soft">{escape(_about(analysis))}</p>']
    found = findings(analysis)
    if found:
        head += ["<h2>Findings</h2>", "<ul>", *(f"<li>{escape(finding.text)}</li>" for finding in found), "</ul>"]
    head.append(_data(analysis))
    body = [part for label in analysis.labels.values() for part in _label(analysis, label, how)]
    title = escape(f"Errors of {name}")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    top = (
        f'<meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{_STYLE}</style>'
    )
    lines = "\n".join([*head, *body])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{top}</head>\n<body>\n{lines}\n</body></html>\n'


def _about(analysis: Analysis) -> str:
    info, model = analysis.info, analysis.info.model
    atoms = int(analysis.structures.n_atoms.sum())
    parts = [f"{len(analysis):,} structures, {atoms:,} atoms"]
    if model.get("epoch") is not None:
        parts.append(f"weights of epoch {model['epoch']}")
    if model.get("head"):
        parts.append(f"head {model['head']}")
    return "; ".join([*parts, f"compared {info.created}"]) + "."


def _data(analysis: Analysis) -> str:
    rows = [
        [str(entry.get("name", "")), str(entry.get("structures", "")), str(entry.get("sha256", ""))[:16]]
        for entry in analysis.info.data
    ]
    return "<h2>Data</h2>" + _table("", ["File", "Structures", "SHA-256 begins"], rows)


def _label(analysis: Analysis, label: Label, how: Print) -> Iterable[str]:
    look = Look(label.name)
    found = pairs(analysis, look)
    yield f"<h2>{escape(label.name)}</h2>"
    if not len(found):
        yield '<p class="soft">The data have no such labels; the model predicts them.</p>'
        return
    unit, factor = _readable(unit_of(label), found)
    quantity = "forces" if label.name.endswith(".forces") else label.name.rpartition("::")[2]
    larger = replace(found, reference=found.reference * factor, prediction=found.prediction * factor)
    for kind in FIGURES:
        one = paper_figure(kind, larger, unit, quantity, how, "svg")
        data = base64.b64encode(one).decode()
        yield f'<figure><img alt="{escape(f"{kind} of {label.name}")}" src="data:image/svg+xml;base64,{data}"></figure>'
    everything = statistics(found, label.per_atom)
    assert everything is not None
    for by, words in BY.items():
        rows = table(analysis, look, by)
        if by == "split" or len(rows) > 1:
            shown = [(row.name or "(none)", row.statistics) for row in rows[:MOST_GROUPS]]
            if by == "split" and len(rows) > 1:
                shown.append(("all", everything))
            more = f", the {MOST_GROUPS} largest of {len(rows)}" if len(rows) > MOST_GROUPS else ""
            yield _table(
                f"Errors{f' in {unit}' if unit else ''}{more}",
                [words, "Values", "MAE", "RMSE", "Largest", "Bias", "R²", "Relative (%)"],
                [
                    [
                        name,
                        f"{row.count:,}",
                        *(f"{value * factor:.4g}" for value in (row.mae, row.rmse, row.max, row.bias)),
                        "–" if row.r2 is None else f"{row.r2:.4f}",
                        "–" if row.relative is None else f"{100 * row.relative:.3g}",
                    ]
                    for name, row in shown
                ],
            )
    yield _worst(analysis, found, unit, factor)


def _worst(analysis: Analysis, found: Pairs, unit: str, factor: float) -> str:
    errors, structures = by_structure(analysis, found), analysis.structures
    rows = [
        [
            f"{structures.dataset[n]}, frame {structures.frame[n]}",
            str(structures.formula[n]),
            str(structures.group[n] or "–"),
            str(structures.split[n] or "–"),
            f"{errors[n] * factor:.4g}",
        ]
        for n in worst(errors, MOST_WORST)
    ]
    return _table(
        "Structures with the largest errors",
        ["Structure", "Formula", "Group", "Split", f"RMSE{f' ({unit})' if unit else ''}"],
        rows,
    )


def _readable(unit: str, found: Pairs) -> tuple[str, float]:
    """Electronvolts of small errors as meV."""
    small = np.abs(found.error).mean() < 0.1
    return (f"m{unit}", 1000.0) if small and unit.startswith("eV") else (unit, 1.0)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"
