"""Files of mace-torch, read without executing anything in them, and rebuilt as models of ours."""

from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.into_model import foundation_config, foundation_model
from mace_app.model.foundation.rebuild import rebuild
from mace_app.model.foundation.source import Foundation, open_foundation

__all__ = ["Foundation", "FoundationError", "foundation_config", "foundation_model", "open_foundation", "rebuild"]
