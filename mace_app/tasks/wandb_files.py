"""A process of its own, started by ``loggers.write_wandb``: one run, as files that ``wandb sync`` can send."""

import sys

import wandb

from mace_app.jobs import RunFolder
from mace_app.tasks.loggers import numbers


def write(path: str) -> None:
    run = RunFolder(path)
    options, info = run.options(), run.info()
    assert options.wandb is not None
    given = options.wandb.model_dump(exclude_none=True)
    settings = wandb.Settings(
        console="off", disable_git=True, disable_code=True, save_code=False, x_disable_stats=True, x_disable_meta=True,
        x_disable_machine_info=True, x_save_requirements=False, host="", silent=True,
    )  # fmt: skip
    record = wandb.init(
        **{"name": info.name, **given},
        id=run.id,
        mode="offline",
        dir=str(run.path),
        config=options.model_dump(mode="json"),
        settings=settings,
    )
    record.define_metric("epoch")
    record.define_metric("*", step_metric="epoch")
    for epoch in run.metrics().epochs:
        record.log({"epoch": epoch["epoch"], **numbers(epoch)})
    report = run.report() or {}
    for split, labels in (report.get("splits") or {}).items():
        for label, errors in labels.items():
            known = {kind: errors[kind] for kind in ("mae", "rmse") if errors.get(kind) is not None}
            record.summary.update({f"final/{split}/{label}/{kind}": value for kind, value in known.items()})
    record.summary["best_epoch"] = info.best_epoch
    record.finish()


if __name__ == "__main__":
    write(sys.argv[1])
