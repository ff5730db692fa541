"""What is known about published files by their names alone; a renamed file is a stranger."""

from dataclasses import dataclass

MIT = "MIT"
ASL = "Academic Software License (ASL): no commercial use, see https://github.com/gabor1/ASL"


@dataclass(frozen=True)
class Published:
    """A published model: its usual name, its licence, and how to cite it."""

    title: str
    licence: str
    reference: str


_MP = "https://doi.org/10.48550/arXiv.2401.00096"
_OFF = "https://doi.org/10.48550/arXiv.2312.15211"
_MH = "https://doi.org/10.48550/arXiv.2510.25380"

_FILES = {
    "2023-12-10-mace-128-L0_energy_epoch-249": Published("MACE-MP-0 small", MIT, _MP),
    "2023-12-03-mace-128-L1_epoch-199": Published("MACE-MP-0 medium", MIT, _MP),
    "MACE_MPtrj_2022.9": Published("MACE-MP-0 large", MIT, _MP),
    "mace_agnesi_small": Published("MACE-MP-0b small", MIT, _MP),
    "mace_agnesi_medium": Published("MACE-MP-0b medium", MIT, _MP),
    "mace-small-density-agnesi-stress": Published("MACE-MP-0b2 small", MIT, _MP),
    "mace-medium-density-agnesi-stress": Published("MACE-MP-0b2 medium", MIT, _MP),
    "mace-large-density-agnesi-stress": Published("MACE-MP-0b2 large", MIT, _MP),
    "mace-mp-0b3-medium": Published("MACE-MP-0b3 medium", MIT, _MP),
    "mace-mpa-0-medium": Published("MACE-MPA-0 medium", MIT, _MP),
    "mace-omat-0-small": Published("MACE-OMAT-0 small", ASL, _MP),
    "mace-omat-0-medium": Published("MACE-OMAT-0 medium", ASL, _MP),
    "MACE-matpes-pbe-omat-ft": Published("MACE-MATPES-PBE-0", ASL, _MP),
    "MACE-matpes-r2scan-omat-ft": Published("MACE-MATPES-r2SCAN-0", ASL, _MP),
    "mace-mh-0": Published("MACE-MH-0", ASL, _MH),
    "mace-mh-1": Published("MACE-MH-1", ASL, _MH),
    "MACE-OFF23_small": Published("MACE-OFF23 small", ASL, _OFF),
    "MACE-OFF23_medium": Published("MACE-OFF23 medium", ASL, _OFF),
    "MACE-OFF23_large": Published("MACE-OFF23 large", ASL, _OFF),
    "MACE-OFF23b_medium": Published("MACE-OFF23b medium", ASL, _OFF),
    "MACE-OFF24_medium": Published("MACE-OFF24 medium", ASL, _OFF),
}


def _key(name: str) -> str:
    """mace-torch's cache drops everything but letters, digits and `_`, so that is all that is compared."""
    return "".join(letter for letter in name.lower().removesuffix(".model") if letter.isalnum() or letter == "_")


_KNOWN = {_key(name): published for name, published in _FILES.items()}


def published_as(file: str) -> Published | None:
    """What the name of a file says it is; None for a name that is not one of the published ones."""
    key = _key(file)
    return _KNOWN.get(key) or _KNOWN.get(key.removesuffix("model"))
