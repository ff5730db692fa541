"""What a user can ask for: one tree of models from which form, YAML, command line and reference page are made."""

from mace_app.options.datasets import DatasetOptions, IndicesOptions, SystemsOptions
from mace_app.options.errors import OptionsError, Problem, problems_of
from mace_app.options.fields import OptionField, option_fields
from mace_app.options.irreps import Irrep, format_irreps, parse_irreps
from mace_app.options.loss import LossOptions, LossPart, LossTerm, resolve_loss
from mace_app.options.model import ModelHypers
from mace_app.options.run import Architecture, RunOptions
from mace_app.options.target_info import TargetInfo
from mace_app.options.targets import GradientOptions, TargetOptions, name_problem
from mace_app.options.training import TrainingHypers
from mace_app.options.yaml_files import (
    Change,
    dump_options,
    load_options,
    missing_files,
    named_files,
    parse_options,
    parse_yaml,
    read_yaml,
    simple_changes,
    to_json_schema,
    to_mapping,
    with_absolute_paths,
)

__all__ = [
    "Architecture",
    "Change",
    "DatasetOptions",
    "GradientOptions",
    "IndicesOptions",
    "Irrep",
    "LossOptions",
    "LossPart",
    "LossTerm",
    "ModelHypers",
    "OptionField",
    "OptionsError",
    "Problem",
    "RunOptions",
    "SystemsOptions",
    "TargetInfo",
    "TargetOptions",
    "TrainingHypers",
    "dump_options",
    "format_irreps",
    "load_options",
    "missing_files",
    "name_problem",
    "named_files",
    "option_fields",
    "parse_irreps",
    "parse_options",
    "parse_yaml",
    "problems_of",
    "read_yaml",
    "resolve_loss",
    "simple_changes",
    "to_json_schema",
    "to_mapping",
    "with_absolute_paths",
]
