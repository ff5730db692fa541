"""An epoch as a record for ``metrics.jsonl`` and as a line for people."""

from collections.abc import Mapping
from typing import Any

from mace_app.training.metrics import Reported
from mace_app.training.passes import PassResult


def epoch_record(
    *,
    epoch: int,
    step: int,
    seconds: float,
    learning_rate: float,
    structures_per_second: float | None,
    trained: PassResult | None,
    validated: PassResult | None,
    monitored: float | None,
    best: bool,
    with_mae: bool = True,
) -> dict[str, Any]:
    """Keys as in docs/architecture.md; what there is nothing to say about is left out."""
    record: dict[str, Any] = {
        "epoch": epoch,
        "step": step,
        "seconds": seconds,
        "learning_rate": learning_rate,
        "structures_per_second": structures_per_second,
    }
    for split, result in (("train", trained), ("validation", validated)):
        if result is None:
            continue
        if result.loss.terms:
            record[f"{split}/loss"] = result.loss.total
        for label, errors in result.errors.items():
            if with_mae:
                record[f"{split}/{label}/mae"] = errors.mae
            record[f"{split}/{label}/rmse"] = errors.rmse
    if trained is not None:
        record.update({f"loss_share/{label}": share for label, share in trained.loss.shares().items()})
    record["monitored"] = monitored
    record["best"] = best
    return record


def epoch_line(record: Mapping[str, Any], reported: Mapping[str, Reported], epochs: int) -> str:
    """For example ``Epoch 3/100  loss 0.12 | 0.15  shares energy 12 % forces 88 %  energy MAE 1.2 meV/atom
    energy.forces MAE 23.4 meV/Å  rate 0.01  12.3 s  best``.

    Losses are of training and validation, shares what each term makes up of the first; errors are those of validation
    (training where there is none), MAE where it is logged; then learning rate and time.
    """
    losses = [f"{record[key]:.4g}" for key in ("train/loss", "validation/loss") if record.get(key) is not None]
    parts = [f"Epoch {record['epoch']}/{epochs}"]
    if losses:
        parts.append(f"loss {' | '.join(losses)}")
    parts += _shares(record)
    for label, entry in reported.items():
        for split, kind in (("validation", "mae"), ("validation", "rmse"), ("train", "mae"), ("train", "rmse")):
            value = record.get(f"{split}/{label}/{kind}")
            if value is not None:
                parts.append(f"{label} {kind.upper()} {shown(value, entry.unit)}")
                break
    parts.append(f"rate {record['learning_rate']:.3g}")
    parts.append(f"{record['seconds']:.1f} s")
    if record["best"]:
        parts.append("best")
    return "  ".join(parts)


def _shares(record: Mapping[str, Any]) -> list[str]:
    """``shares energy 12 % forces 88 %``; nothing where there is one term only. With several energies a derivative
    keeps the name of its energy."""
    shares = {key.removeprefix("loss_share/"): value for key, value in record.items() if key.startswith("loss_share/")}
    if len(shares) < 2:
        return []
    short = {label: label.rpartition(".")[2] if label.endswith((".forces", ".stress")) else label for label in shares}
    if len(set(short.values())) < len(short):
        short = {label: label for label in shares}
    return [f"shares {' '.join(f'{short[label]} {_percent(share)} %' for label, share in shares.items())}"]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.01 else f"{100 * share:.1g}"


def shown(value: float, unit: str) -> str:
    """Four digits; small energies in meV, as the field reads them."""
    if unit == "eV" or unit.startswith("eV/"):
        return f"{value * 1000:.4g} m{unit}"
    return f"{value:.4g} {unit}".rstrip()
