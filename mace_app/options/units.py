"""How units are spelt."""

import re

_SPELLINGS = {
    "Å": "Angstrom",
    "\u212b": "Angstrom",
    "·": "*",
    "⋅": "*",
    "×": "*",
    "²": "^2",
    "³": "^3",
    "Ha": "Hartree",
}


def metatomic_unit(text: str) -> str:
    """A unit as people write it (``e·Å``, ``eV/Å³``) in the spelling metatomic reads (``e*Angstrom``)."""
    for sign in "Å\u212b·⋅×²³":
        text = text.replace(sign, _SPELLINGS[sign])
    return _SPELLINGS.get(text, text)


def readable(unit: str) -> str:
    """``e*angstrom`` as ``e·Å``, ``eV/angstrom^3`` as ``eV/Å³``."""
    short = re.sub(r"(?i)angstrom", "Å", unit).replace("*", "·")
    return short.replace("^2", "²").replace("^3", "³")
