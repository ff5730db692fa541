"""The page docs/learning.md."""

from programs import PROGRAMS
from setting import Setting

ALLOWED = 1.1


def page(setting: Setting, avg_num_neighbors: float, results: list[dict]) -> str:
    """Markdown of the comparison, in the order of the programs."""
    rows = "\n".join(_row(result, setting.epochs) for result in results)
    remarks = "\n".join(f"* {program.title}: {program.remarks}." for program in PROGRAMS)
    return f"""# Learning from the same data

After the same number of epochs, on the same split, with the same hyperparameters: mean absolute errors on the
validation set of the model file that each program leaves behind (ours and metatrain's through
`metatomic_ase.MetatomicCalculator`, MACE's through `MACECalculator`), computed by one script. In brackets, what the
program itself logged for its best epoch.

| program | versions | forces, meV/Å | energy, meV/atom | energy without offset | CPU seconds an epoch |
|---|---|---|---|---|---|
{rows}

{_verdict(results)}
It is one run of each, so how much of a difference is chance was not measured.

Energies without offset are those with the mean error taken away: after few epochs most of an energy error can be one
constant for all structures, which concerns neither forces nor differences of energies between them.

Data: {setting.training} ethanol molecules of rMD17 for training and {setting.validation} for validation.
{setting.epochs} epochs, seed {setting.seed}, float32, CPU threads: {setting.threads}. CPU seconds are those of the
whole run, start and export included, divided by the epochs; a busy machine raises them somewhat. Equal for
all: `r_max {setting.r_max:g}`, `hidden_irreps "{setting.hidden_irreps}"`, `max_ell {setting.max_ell}`,
`correlation {setting.correlation}`, {setting.num_interactions} layers, average number of neighbours
{avg_num_neighbors:.2f}, batch size {setting.batch_size}, Adam with amsgrad, learning rate
{setting.learning_rate:g}, weight decay {setting.weight_decay:g}, mean squared errors of energy per atom and force
components weighted {setting.energy_weight:g} : {setting.forces_weight:g}, atomic energies from least squares. What each
program does in its own way stays as its users have it:

{remarks}

A common unit of energies and forces changes nothing in the balance of the two terms, and Adam doesn't see a common
factor of the loss; only the clipping of gradients does.

Made by:

```
python tests/benchmarks/learning/compare.py --data FOLDER --cache FOLDER \\
    --epochs {setting.epochs} --seed {setting.seed} --write
```
"""


def _row(result: dict, epochs: int) -> str:
    program = next(program for program in PROGRAMS if program.name == result["program"])
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    own = result["own"]
    seconds = f"{result['cpu_seconds'] / epochs:.0f}"
    forces = f"**{result['forces_mae']:.2f}** ({own['forces_mae']:.2f})"
    offset = f"{result['energy_mae_without_offset']:.2f}"
    energy = f"{result['energy_mae']:.3f} ({own['energy_mae']:.3f})"
    return f"| {program.title} | {versions} | {forces} | {energy} | {offset} | {seconds} |"


def _verdict(results: list[dict]) -> str:
    forces = {result["program"]: result["forces_mae"] for result in results}
    peers = [value for name, value in forces.items() if name != "studio"]
    if "studio" not in forces or not peers:
        return "Not all programs have been run yet."
    ratio = forces["studio"] / min(peers)
    kept = "is kept" if ratio <= ALLOWED else "is not kept"
    return f"Ours has {ratio:.2f} times the force error of the better of the others; the limit of {ALLOWED} {kept}."
