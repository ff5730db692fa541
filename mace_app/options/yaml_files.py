"""Options from and to YAML, and what differs between two sets of options."""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mace_app.options.base import shown
from mace_app.options.errors import OptionsError, Problem, problems_of
from mace_app.options.fields import default_of
from mace_app.options.metatrain_dialect import from_metatrain
from mace_app.options.run import RunOptions

MOST_ENTRIES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number (YAML 1.2) and refuses keys written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            merged = not node.start_mark.index <= key_node.start_mark.index < node.end_mark.index
            if merged or key_node.tag == "tag:yaml.org,2002:merge":
                continue  # what `<<: *name` brings may be said again
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the parent class words this error
            if key in seen:
                line = key_node.start_mark.line + 1
                raise OptionsError([Problem((), f"Line {line}: the key `{key}` is written twice; remove one of them.")])
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = all(not isinstance(entry, dict | list) for entry in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)


def load_options(path: str | Path, check_files: bool = False) -> RunOptions:
    """Read an options file. Raises OptionsError with every problem, each a sentence.

    Relative paths inside mean the current folder, as in metatrain. ``check_files`` also looks whether the files exist;
    a run that is only looked at may have outlived its data.
    """
    options = parse_options(read_yaml(path))
    if check_files and (missing := missing_files(options)):
        raise OptionsError(missing)
    return options


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, unchecked but for syntax and double keys."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OptionsError([Problem((), f"There is no file `{file}`; looked for {file.absolute()}.")]) from None
    except IsADirectoryError:
        raise OptionsError([Problem((), f"`{file}` is a folder; name an options file.")]) from None
    except UnicodeDecodeError:
        raise OptionsError([Problem((), f"`{file}` is no text file; name an options file.")]) from None
    except OSError as error:
        raise OptionsError([Problem((), f"`{file}` can't be read: {error.strerror}.")]) from None
    return parse_yaml(text)


def _load(text: str) -> Any:
    """The content of a YAML text; OptionsError if its aliases (`*name`) make it huge."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _entries(node, {}) > MOST_ENTRIES:
            message = f"The YAML repeats itself to more than {MOST_ENTRIES} entries through aliases; write it out."
            raise OptionsError([Problem((), message)])
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _entries(node: yaml.Node, known: dict[int, int]) -> int:
    """Entries below a node, those of an alias counted each time it is used. A node inside itself counts as endless."""
    if id(node) not in known:
        known[id(node)] = MOST_ENTRIES + 1
        below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = (
            1 + sum(_entries(part, known) for part in below) if not isinstance(node, yaml.ScalarNode) else 1
        )
    return known[id(node)]


def parse_yaml(text: str) -> dict[str, Any]:
    """The mapping in a YAML text; for a form that shows and accepts YAML."""
    try:
        content = _load(text)
    except RecursionError:
        raise OptionsError([Problem((), "The YAML is nested too deeply to be options.")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"Line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "The text"
        raise OptionsError(
            [Problem((), f"{where}: this is not valid YAML ({error.problem or error.context}).")]
        ) from None
    except yaml.YAMLError:
        raise OptionsError([Problem((), "This is not valid YAML: it holds characters that can't be read.")]) from None
    if content is None:
        raise OptionsError([Problem((), "The options are empty; they need at least a `training_set`.")])
    if not isinstance(content, dict):
        raise OptionsError(
            [Problem((), f"Options are a mapping such as `training_set: data.xyz`; this is {shown(content)}.")]
        )
    return content


def parse_options(mapping: Mapping[str, Any]) -> RunOptions:
    """Check a mapping as it comes from YAML or a form, ours or metatrain's. Raises OptionsError with every problem at
    its option."""
    try:
        return RunOptions.model_validate(from_metatrain(mapping))
    except ValidationError as error:
        raise OptionsError(problems_of(error)) from None


def to_mapping(options: RunOptions) -> dict[str, Any]:
    """Plain lists and mappings with every default; a single data set stands without a list."""
    mapping = options.model_dump()
    for name in ("training_set", "validation_set", "test_set"):
        if isinstance(mapping[name], list) and len(mapping[name]) == 1:
            mapping[name] = mapping[name][0]
    return mapping


def dump_options(options: RunOptions) -> str:
    """Complete YAML: every option with its value; reads back equal."""
    return as_yaml(to_mapping(options))


def as_yaml(mapping: Mapping[str, Any]) -> str:
    """In the order given, lists of plain values on one line."""
    return str(yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def to_json_schema() -> dict[str, Any]:
    """JSON schema of an options file, for editors; titles, units and explanations are inside as ``x-`` keys."""
    return RunOptions.model_json_schema()


def named_files(options: RunOptions) -> list[tuple[tuple[str, ...], str]]:
    """Every path that options name, with its place: structures, labels, indices, runs to take normalisation from."""
    paths = []
    for place, dataset in options.all_datasets():
        paths.append(((*place, "systems", "read_from"), dataset.systems.read_from))
        for (target, kind), file in dataset.label_files().items():
            paths.append(((*place, "targets", target, *([kind] if kind else []), "read_from"), file))
        if isinstance(dataset.indices, str):
            paths.append(((*place, "indices"), dataset.indices))
    for name in ("validation_set", "test_set"):
        indices = getattr(getattr(options, name), "indices", None)
        if isinstance(indices, str):
            paths.append(((name, "indices"), indices))
    if options.architecture.model.mace_model is not None:
        paths.append((("architecture", "model", "mace_model"), options.architecture.model.mace_model))
    training = options.architecture.training
    for name in ("atomic_baseline", "fixed_scaling_weights"):
        if isinstance(value := getattr(training, name), str):
            paths.append((("architecture", "training", name), value))
    return paths


def missing_files(options: RunOptions) -> list[Problem]:
    """The files that options name and that are not there."""
    return [
        Problem(place, f"There is no file `{path}`; looked for {Path(path).absolute()}.")
        for place, path in named_files(options)
        if not Path(path).exists()
    ]


def with_absolute_paths(options: RunOptions) -> RunOptions:
    """The same options with every path made absolute, so that a process started elsewhere finds the files."""
    mapping = options.model_dump()
    for place, path in named_files(options):
        entry: Any = mapping
        for part in place[:-1]:
            entry = entry[int(part)] if isinstance(entry, list) else entry[part]
        entry[place[-1]] = str(Path(path).absolute())
    return parse_options(mapping)


@dataclass(frozen=True)
class Change:
    """An option that differs from its default. ``default`` is None where there is none."""

    loc: tuple[str, ...]
    title: str
    value: Any
    default: Any


def simple_changes(options: BaseModel) -> list[Change]:
    """The options that differ from their defaults, in the order of the form; for comparing runs."""
    return _changes(options, ())


def _changes(model: BaseModel, place: tuple[str, ...]) -> list[Change]:
    found = []
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        loc = (*place, name)
        default = None if info.is_required() else default_of(info)
        if not info.is_required() and value == default:
            continue
        children = _children(value)
        if children:
            for key, child in children:
                found.extend(_changes(child, (*loc, *key)))
        else:
            found.append(Change(loc, info.title or name, value, default))
    return found


def _children(value: Any) -> list[tuple[tuple[str, ...], BaseModel]]:
    if isinstance(value, BaseModel):
        return [((), value)]
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, list):
        entries = list(enumerate(value))
    elif isinstance(value, dict):
        entries = list(value.items())
    return [((str(key),), entry) for key, entry in entries if isinstance(entry, BaseModel)]
