"""Names metatomic gives to properties, and the quantities that need a unit."""

import re

from mace_app.options.units import metatomic_unit

__all__ = ["metatomic_unit", "needs_unit", "property_name", "uncertainty_name"]

# metatomic's standard quantities that are pure numbers.
WITHOUT_UNIT = ("spin_multiplicity", "feature")


def property_name(target: str) -> str:
    """Without variant and prefix, as metatrain has it: ``energy`` for ``energy/pbe``, ``dipole`` for ``mtt::dipole``;
    only letters, digits and ``_``, which is all metatensor takes."""
    name = re.sub(r"\W", "_", target.split("/")[0].removeprefix("mtt::"), flags=re.ASCII)
    return name if not name[:1].isdigit() else f"_{name}"


def needs_unit(target: str, quantity: str) -> bool:
    """An engine can't use an energy, or any other standard quantity, without knowing its unit."""
    base = target.split("/")[0]
    standard = "::" not in target and base not in WITHOUT_UNIT
    return standard or quantity == "energy"


def uncertainty_name(target: str) -> str | None:
    """The standard output for the uncertainty of ``energy`` or one of its variants; None of any other target."""
    base, slash, variant = target.partition("/")
    return f"energy_uncertainty{slash}{variant}" if base == "energy" else None
