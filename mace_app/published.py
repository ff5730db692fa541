"""MACE models that were published: what is known about them without opening a file, and which can be downloaded.

The keys of those that can are the names mace-torch 0.3.16 has for them; its table of addresses stays its own. No torch.
"""

from dataclasses import dataclass
from typing import Literal

MIT = "MIT"
ASL = "Academic Software License (ASL): no commercial use, see https://github.com/gabor1/ASL"

_MP = "https://doi.org/10.48550/arXiv.2401.00096"
_OFF = "https://doi.org/10.48550/arXiv.2312.15211"
_MATPES = "https://doi.org/10.48550/arXiv.2503.04070"
_MH = "https://doi.org/10.48550/arXiv.2510.25380"

_ALL = "89 elements, H to Pu"
_ORGANIC = "10 elements: H, C, N, O, F, P, S, Cl, Br, I"


@dataclass(frozen=True)
class Published:
    """A published model: its file's name without ``.model``, its usual name, its licence, how to cite it; which
    elements it knows, at which level of theory it was trained, and on what.

    ``key`` is None for one that mace-torch doesn't download; ``table`` and ``name`` are where it has the address.
    """

    file: str
    title: str
    licence: str
    reference: str
    elements: str = ""
    theory: str = ""
    data: str = ""
    key: str | None = None
    table: Literal["mp", "off"] = "mp"
    several_heads: bool = False

    @property
    def needs_consent(self) -> bool:
        """Whether a person has to accept the licence before the download: it restricts what may be done."""
        return self.licence != MIT

    @property
    def name(self) -> str:
        """mace-torch's name for it in ``table``."""
        return (self.key or "").removeprefix("off-")


def _mp(file: str, title: str, key: str, licence: str = MIT, theory: str = "PBE+U", data: str = "MPtrj") -> Published:
    return Published(file, title, licence, _MP, _ALL, theory, data, key)


def _off(file: str, title: str, key: str | None = None) -> Published:
    return Published(file, title, ASL, _OFF, _ORGANIC, "ωB97M-D3(BJ)/def2-TZVPPD", "SPICE and others", key, "off")


def _matpes(file: str, title: str, key: str, theory: str) -> Published:
    return Published(file, title, ASL, _MATPES, _ALL, theory, "OMAT, then MatPES", key)


def _mh(file: str, title: str, key: str) -> Published:
    theory = "a head for each: PBE, PBE+U, r2SCAN, ωB97M and others"
    return Published(file, title, ASL, _MH, _ALL, theory, "materials, molecules, surfaces", key, several_heads=True)


_EVERY = (
    _mp("mace-mpa-0-medium", "MACE-MPA-0 medium", "medium-mpa-0", data="MPtrj and sAlex"),
    _mp("mace-mp-0b3-medium", "MACE-MP-0b3 medium", "medium-0b3"),
    _mp("mace-small-density-agnesi-stress", "MACE-MP-0b2 small", "small-0b2"),
    _mp("mace-medium-density-agnesi-stress", "MACE-MP-0b2 medium", "medium-0b2"),
    _mp("mace-large-density-agnesi-stress", "MACE-MP-0b2 large", "large-0b2"),
    _mp("mace_agnesi_small", "MACE-MP-0b small", "small-0b"),
    _mp("mace_agnesi_medium", "MACE-MP-0b medium", "medium-0b"),
    _mp("2023-12-10-mace-128-L0_energy_epoch-249", "MACE-MP-0 small", "small"),
    _mp("2023-12-03-mace-128-L1_epoch-199", "MACE-MP-0 medium", "medium"),
    _mp("MACE_MPtrj_2022.9", "MACE-MP-0 large", "large"),
    _mp("mace-omat-0-small", "MACE-OMAT-0 small", "small-omat-0", ASL, data="OMAT"),
    _mp("mace-omat-0-medium", "MACE-OMAT-0 medium", "medium-omat-0", ASL, data="OMAT"),
    _matpes("MACE-matpes-pbe-omat-ft", "MACE-MATPES-PBE-0", "mace-matpes-pbe-0", "PBE"),
    _matpes("MACE-matpes-r2scan-omat-ft", "MACE-MATPES-r2SCAN-0", "mace-matpes-r2scan-0", "r2SCAN"),
    _mh("mace-mh-0", "MACE-MH-0", "mh-0"),
    _mh("mace-mh-1", "MACE-MH-1", "mh-1"),
    _off("MACE-OFF23_small", "MACE-OFF23 small", "off-small"),
    _off("MACE-OFF23_medium", "MACE-OFF23 medium", "off-medium"),
    _off("MACE-OFF23_large", "MACE-OFF23 large", "off-large"),
    _off("MACE-OFF23b_medium", "MACE-OFF23b medium"),
    _off("MACE-OFF24_medium", "MACE-OFF24 medium"),
)

DOWNLOADABLE: dict[str, Published] = {model.key: model for model in _EVERY if model.key is not None}
"""By key, newest first within a family."""


def _comparable(name: str) -> str:
    """mace-torch's cache drops everything but letters, digits and `_`, so that is all that is compared."""
    return "".join(letter for letter in name.lower().removesuffix(".model") if letter.isalnum() or letter == "_")


_KNOWN = {_comparable(model.file): model for model in _EVERY}


def published_as(file: str) -> Published | None:
    """What the name of a file says it is; None for a name that is not one of the published ones: a renamed file is a
    stranger."""
    key = _comparable(file)
    return _KNOWN.get(key) or _KNOWN.get(key.removesuffix("model"))
