"""The kinds of message passing mace-torch 0.3.16 has, under their class names and short names."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from mace_app.options.errors import refuse

_BLOCK_SUFFIX = "InteractionBlock"
FIRST_INTERACTIONS = (
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)
ATTENTION_INTERACTION = "RealAgnosticAttResidualInteractionBlock"
# These divide messages by a learned density instead of by avg_num_neighbors.
DENSITY_INTERACTIONS = frozenset(FIRST_INTERACTIONS[2:])


def long_block_name(value: Any) -> Any:
    """Accept ``RealAgnosticDensity`` for ``RealAgnosticDensityInteractionBlock``."""
    if isinstance(value, str) and value and not value.endswith(_BLOCK_SUFFIX):
        return value + _BLOCK_SUFFIX
    return value


def _first_block_name(value: Any) -> Any:
    name = long_block_name(value)
    if name == ATTENTION_INTERACTION:
        raise refuse(
            f"`{value}` can't be the first layer, whose atoms have no features to attend to yet; "
            "use it for `interaction`, the layers after the first."
        )
    return name


FirstInteraction = Annotated[
    Literal[
        "RealAgnosticResidualInteractionBlock",
        "RealAgnosticInteractionBlock",
        "RealAgnosticDensityInteractionBlock",
        "RealAgnosticDensityResidualInteractionBlock",
        "RealAgnosticResidualNonLinearInteractionBlock",
    ],
    BeforeValidator(_first_block_name),
]
Interaction = Annotated[
    Literal[
        "RealAgnosticResidualInteractionBlock",
        "RealAgnosticAttResidualInteractionBlock",
        "RealAgnosticInteractionBlock",
        "RealAgnosticDensityInteractionBlock",
        "RealAgnosticDensityResidualInteractionBlock",
        "RealAgnosticResidualNonLinearInteractionBlock",
    ],
    BeforeValidator(long_block_name),
]
