"""Files of mace-torch, read without executing anything in them, and rebuilt as models of ours."""

from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.graphs import AtomsGraphs
from mace_app.model.foundation.into_model import (
    atomic_baseline,
    continued_config,
    foundation_config,
    foundation_model,
    put_foundation,
)
from mace_app.model.foundation.judge import Judge
from mace_app.model.foundation.probes import probe_structures
from mace_app.model.foundation.rebuild import rebuild
from mace_app.model.foundation.source import Foundation, open_foundation

__all__ = [
    "AtomsGraphs",
    "Foundation",
    "FoundationError",
    "Judge",
    "atomic_baseline",
    "continued_config",
    "foundation_config",
    "foundation_model",
    "open_foundation",
    "probe_structures",
    "put_foundation",
    "rebuild",
]
