"""The reference page of all options, docs/options.md, made from what stands beside the fields."""

from itertools import groupby

from pydantic import BaseModel

from mace_app.options.base import shown
from mace_app.options.datasets import DatasetOptions, IndicesOptions, SystemsOptions
from mace_app.options.fields import OptionField, option_fields
from mace_app.options.loss import LossOptions
from mace_app.options.model import ModelHypers
from mace_app.options.run import Architecture, RunOptions
from mace_app.options.targets import GradientOptions, TargetOptions
from mace_app.options.training import TrainingHypers

_INTRODUCTION = """# Options

This page is made from the option models by `python docs/make_options_reference.py`; change the text there.

A run is described by one YAML file with the grammar of metatrain's `options.yaml`:

```yaml
seed: 1
architecture:
  name: experimental.mace
  model: {r_max: 5.0, hidden_irreps: 32x0e + 32x1o}
  training: {num_epochs: 200, batch_size: 8, loss: {energy: {weight: 1, forces: {weight: 10}}}}
training_set:
  systems: {read_from: ethanol.xyz, length_unit: angstrom}
  targets:
    energy: {key: energy, unit: eV}
    mtt::dipole: {key: dipole, unit: e*Angstrom, type: {cartesian: {rank: 1}}}
validation_set: 0.1
```

A file name alone stands for a whole data set with the target `energy`. An unknown option is an error, and so is one
that would have no effect or is not built yet; writing a default down never is. The eight options that matter most are
marked ★.
"""

_PARTS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The run", "top level", RunOptions),
    ("Architecture", "`architecture`", Architecture),
    ("Model", "`architecture.model`", ModelHypers),
    ("Training", "`architecture.training`", TrainingHypers),
    ("Loss of a target", "`architecture.training.loss.<target>`", LossOptions),
    ("Data set", "`training_set`, `validation_set`, `test_set`", DatasetOptions),
    ("Structures of a data set", "`systems`", SystemsOptions),
    ("Targets of a data set", "`targets.<name>`", TargetOptions),
    ("Where forces, stress or virial are", "`targets.<name>.forces` and the like", GradientOptions),
    ("Split by position", "`validation_set`, `test_set`", IndicesOptions),
)


def options_reference() -> str:
    """The whole page in Markdown."""
    parts = [_INTRODUCTION]
    for title, place, model in _PARTS:
        parts.append(f"## {title}\n\nIn the file: {place}.\n")
        fields = option_fields(model)
        sections = list(dict.fromkeys(field.section for field in fields))
        fields.sort(key=lambda field: sections.index(field.section))
        for section, members in groupby(fields, key=lambda field: field.section):
            if len(sections) > 1:
                parts.append(f"### {section}\n")
            parts.extend(_entry(field) for field in members)
    return "\n".join(parts)


def _entry(field: OptionField) -> str:
    star = " ★" if field.importance == "simple" else ""
    lines = [f"**`{field.name}`**{star} · {field.title} · {', '.join(_facts(field))}  ", field.help, ""]
    lines += [field.explanation, ""]
    if field.not_built is not None:
        lines += [f"*Not built yet: {field.not_built}*", ""]
    if field.not_built_values:
        cases = "; ".join(f"{_code(value)}: {reason.rstrip('.')}" for value, reason in field.not_built_values.items())
        lines += [f"*Not built yet: {cases}.*", ""]
    return "\n".join(lines)


def _facts(field: OptionField) -> list[str]:
    facts = []
    if field.required:
        facts.append("required")
    elif not isinstance(field.default, BaseModel) and not _holds_models(field.default):
        facts.append(f"default `{shown(field.default) or repr('')}`" + (f" {field.unit}" if field.unit else ""))
    if field.choices and field.choices != (False,):
        facts.append("one of " + ", ".join(f"`{choice}`" if choice != "" else "`''`" for choice in field.choices))
    low, high = field.bounds
    if low is not None:
        facts.append(f"{'more than' if field.exclusive[0] else 'at least'} {shown(low)}")
    if high is not None:
        facts.append(f"{'less than' if field.exclusive[1] else 'at most'} {shown(high)}")
    return facts or ["see below"]


def _holds_models(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(entry, BaseModel) for entry in value.values())


def _code(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) and " " not in value else str(value)
