"""From the shells of a file to its architecture; what can't be rebuilt is named."""

from collections.abc import Mapping
from typing import Any

import torch

from mace_app.model.adapter import OLD_SOFT
from mace_app.model.architecture import Architecture
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.modules import Module
from mace_app.options.irreps import Irrep, format_irreps, parse_irreps

KINDS = ("MACE", "ScaleShiftMACE")
_OTHERS = {
    "AtomicDipolesMACE": "predicts dipoles only and has no energy",
    "AtomicDielectricMACE": "predicts dipoles and polarisabilities only and has no energy",
    "EnergyDipolesMACE": "predicts energies together with dipoles, an architecture that is not supported",
    "MACELES": "adds long-range electrostatics (LES), which a metatomic file of a plain MACE can't hold",
    "PolarMACE": "adds charges and electric fields (MACE-POLAR), which a metatomic file of a plain MACE can't hold",
    "BOTNet": "is a BOTNet, the predecessor of MACE",
    "ScaleShiftBOTNet": "is a BOTNet, the predecessor of MACE",
}
INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticAttResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)
_READOUTS = ("NonLinearReadoutBlock", "NonLinearBiasReadoutBlock")
_RADIAL = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
_TRANSFORMS = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}
_GATES = ("silu", "tanh", "abs")
_MOST_IRREPS = 64
_MOST_HEADS = 1000
# Products of features and harmonics in all layers; the largest published model has 48.
_MOST_PRODUCTS = 400
_HIGHEST_ORDER = 6
_HIGHEST_L = 8
_LONGEST_CUTOFF = 20.0


def check_kind(root: Module, file: str) -> None:
    """Raise FoundationError, naming what it is, unless the file holds a MACE for energies."""
    if root.name in _OTHERS:
        raise FoundationError(f"`{file}` ({root.name}) {_OTHERS[root.name]}, so it can't be used here.")
    if root.name not in KINDS or not root.type.startswith("mace."):
        what = f"a `{root.type[:80]}`" if root.type else "no module"
        raise FoundationError(
            f"`{file}` holds {what}, which is no model of MACE (`MACE` or `ScaleShiftMACE`); nothing was executed."
        )
    if "joint_embedding" in root.children or root.attributes.get("embedding_specs") is not None:
        raise FoundationError(
            f"`{file}` needs the charge or spin of every structure as an input (as MACE-OMOL does), which is not "
            "supported here; use a model without them, or mace-torch's own calculator."
        )
    for module in root.walk():
        if module.type.startswith(("cuequivariance", "openequivariance")):
            library, short = ("cuEquivariance", "cueq") if module.type[0] == "c" else ("OpenEquivariance", "oeq")
            raise FoundationError(
                f"`{file}` was saved in the layout of {library}; convert it on a machine that has the library, with "
                f"`python -m mace.cli.convert_{short}_e3nn`, and use the result."
            )


def heads_of(root: Module, file: str) -> list[str]:
    """Names of the heads; a file from before there were any has one."""
    heads = root.value("heads")
    if not isinstance(heads, tuple) or not heads:
        return ["Default"]
    names = [str(head) for head in heads]
    if len(names) > _MOST_HEADS or any(len(name) > 200 or not name.isprintable() for name in names):
        raise FoundationError(f"`{file}` has heads with names that no model has; it is damaged.")
    return names


class _Reader:
    """Looks for what must be there, and says what is not."""

    def __init__(self, root: Module, tensors: Mapping[str, torch.Tensor], file: str) -> None:
        self.root = root
        self.tensors = tensors
        self.file = file

    def module(self, path: str) -> Module:
        found = self.root.child(*path.split("."))
        if found is None:
            raise self.refused(f"`{path}` is missing")
        return found

    def irreps(self, path: str, attribute: str) -> str:
        value = self.module(path).value(attribute)
        if not isinstance(value, str) or not value:
            raise self.refused(f"`{path}.{attribute}` is missing")
        try:
            found = parse_irreps(value)
        except ValueError as error:
            raise self.refused(f"`{path}.{attribute}`: {error}") from None
        if len(found) > _MOST_IRREPS:
            raise self.refused(f"`{path}.{attribute}` has {len(found)} parts")
        return format_irreps(found)

    def scalar(self, name: str) -> float:
        value = self.tensors.get(name)
        if value is None or value.numel() != 1 or not bool(torch.isfinite(value.double()).all()):
            raise self.refused(f"`{name}` is missing or no number")
        return float(value.item())

    def whole(self, name: str) -> int:
        value = self.scalar(name)
        if value != int(value) or not 0 <= value < 1000:
            raise self.refused(f"`{name}` is {value:g}, which is no count")
        return int(value)

    def refused(self, what: str) -> FoundationError:
        return FoundationError(
            f"`{self.file}` calls itself a MACE, but {what}; it is damaged or of a version that can't be read."
        )


def recover_architecture(root: Module, tensors: Mapping[str, torch.Tensor], file: str) -> Architecture:
    """Raises FoundationError for what mace-torch 0.3.16 can't build; ``check_kind`` must have passed."""
    read = _Reader(root, tensors, file)
    layers = read.whole("num_interactions")
    if not 1 <= layers <= 12 or len(read.module("interactions").children) != layers:
        raise read.refused("its number of layers is unclear")
    interactions = [read.module(f"interactions.{index}") for index in range(layers)]
    for interaction in interactions:
        if interaction.name not in INTERACTIONS:
            raise FoundationError(
                f"`{file}` uses `{interaction.name[:80]}`, a kind of layer that mace-torch 0.3.16 does not have; it "
                "can't be rebuilt."
            )
    if len({interaction.name for interaction in interactions[1:]}) > 1:
        raise read.refused("its later layers are of different kinds")
    numbers = tensors.get("atomic_numbers")
    if numbers is None or numbers.dim() != 1 or not 1 <= len(numbers) <= 118 or numbers.is_floating_point():
        raise read.refused("its list of elements is missing")
    elements = tuple(int(z) for z in numbers.tolist())
    if len(set(elements)) != len(elements) or not all(1 <= z <= 118 for z in elements):
        raise read.refused("its list of elements makes no sense")

    radial = read.module("radial_embedding")
    basis = read.module("radial_embedding.bessel_fn")
    transform = radial.child("distance_transform")
    if basis.name not in _RADIAL or (transform is not None and transform.name not in _TRANSFORMS):
        raise read.refused(
            f"its radial part is `{(transform or basis).name[:80]}`, which mace-torch 0.3.16 does not have"
        )
    harmonics = read.irreps("spherical_harmonics", "irreps_out")
    hidden = read.irreps("products.0.linear", "irreps_out")
    last = read.irreps(f"products.{layers - 1}.linear", "irreps_out")
    products = layers * len(parse_irreps(hidden)) * len(parse_irreps(harmonics))
    if products > _MOST_PRODUCTS or max(irrep.l for irrep in parse_irreps(hidden + " + " + harmonics)) > _HIGHEST_L:
        raise read.refused(f"its layers would have {products} kinds of products, more than any model")
    edge, edge_first = _edge_irreps(read, interactions)
    readout, mlp, gate = _readout(read, len(heads_of(root, file)))
    return Architecture(
        r_max=_cutoff(read),
        radial_type=_RADIAL[basis.name],
        num_bessel=_count(read, "radial_embedding", "out_dim"),
        num_polynomial_cutoff=read.whole("radial_embedding.cutoff_fn.p"),
        distance_transform=_transform(transform),
        apply_cutoff=radial.value("apply_cutoff", True) is not False,
        max_ell=max(irrep.l for irrep in parse_irreps(harmonics)),
        use_so3=all(irrep.p == 1 for irrep in parse_irreps(harmonics)) and len(parse_irreps(harmonics)) > 1,
        interaction_first=interactions[0].name,
        interaction=interactions[-1].name,
        num_interactions=layers,
        hidden_irreps=hidden,
        keep_last_layer_irreps=layers > 1 and last == hidden and len(parse_irreps(hidden)) > 1,
        edge_irreps=edge,
        use_edge_irreps_first=edge_first,
        radial_MLP=_radial_widths(read),
        avg_num_neighbors=tuple(_neighbours(read, interaction) for interaction in interactions),
        correlation=tuple(
            _count(read, f"products.{index}.symmetric_contractions.contractions.0", "correlation")
            for index in range(layers)
        ),
        basis=tuple(_tables(read, index) for index in range(layers)),
        use_agnostic_product=read.module("products.0").value("use_agnostic_product", False) is True,
        use_last_readout_only=layers > 1 and len(read.module("readouts").children) == 1,
        readout=readout,
        MLP_irreps=mlp,
        gate=gate,
        pair_repulsion="pair_repulsion_fn" in root.children,
        atomic_numbers=elements,
    )


def _cutoff(read: _Reader) -> float:
    value = read.scalar("r_max")
    if not 0 < value <= _LONGEST_CUTOFF:
        raise read.refused(f"its cutoff is {value:g} Å")
    return value


def _transform(transform: Module | None) -> str | None:
    if transform is None:
        return None
    if transform.name == "SoftTransform" and "alpha" not in transform.tensors:
        return OLD_SOFT
    return _TRANSFORMS[transform.name]


def _count(read: _Reader, path: str, attribute: str) -> int:
    value = read.module(path).value(attribute)
    if not isinstance(value, int) or not 1 <= value <= 4096:
        raise read.refused(f"`{path}.{attribute}` is no count")
    return value


def _neighbours(read: _Reader, interaction: Module) -> float:
    name = f"{interaction.path}.avg_num_neighbors"
    value: Any = read.scalar(name) if name in read.tensors else interaction.value("avg_num_neighbors")
    if not isinstance(value, int | float) or not 0 < value < 1e6:
        raise read.refused(f"`{name}` is no number above 0")
    return float(value)


def _radial_widths(read: _Reader) -> tuple[int, ...]:
    widths = read.module("interactions.0").value("radial_MLP")
    if not isinstance(widths, tuple):
        sizes = read.module("interactions.0.conv_tp_weights").value("hs", ())
        widths = sizes[1:-1] if isinstance(sizes, tuple) else ()
    if not 1 <= len(widths) <= 16 or not all(isinstance(width, int) and 1 <= width <= 65536 for width in widths):
        raise read.refused("the widths of its radial network are missing")
    return tuple(widths)


def _edge_irreps(read: _Reader, interactions: list[Module]) -> tuple[str | None, bool]:
    """Irreps sent along edges where they differ from those of the atoms; and whether the first layer limits them."""

    def own(interaction: Module) -> str | None:
        sent = read.irreps(f"{interaction.path}.linear_up", "irreps_out")
        return None if sent == read.irreps(f"{interaction.path}.linear_up", "irreps_in") else sent

    first = own(interactions[0])
    later = [own(interaction) for interaction in interactions[1:]]
    whole = read.root.value("edge_irreps")
    edge = next((sent for sent in later if sent is not None), None)
    if edge is None and first is not None:
        edge = format_irreps(parse_irreps(whole)) if isinstance(whole, str) and whole else first
    return edge, first is not None


def _readout(read: _Reader, heads: int) -> tuple[str, str, str | None]:
    """Class, hidden irreps of one head and gate of the last readout; the usual ones where it has no hidden layer."""
    readouts = read.module("readouts").children
    last = readouts.get(str(len(readouts) - 1))
    if last is None:
        raise read.refused("it has no readout")
    if last.name == "LinearReadoutBlock" and len(read.module("interactions").children) == 1:
        return _READOUTS[0], "16x0e", "silu"
    if last.name not in _READOUTS:
        raise FoundationError(
            f"`{read.file}` reads its energy with `{last.name[:80]}`, which is not supported here; it can't be rebuilt."
        )
    whole = parse_irreps(read.irreps(last.path, "hidden_irreps"))
    if any(irrep.mul % heads for irrep in whole):
        raise read.refused(f"the width of its readout does not fit {heads} heads")
    mlp = format_irreps([Irrep(irrep.mul // heads, irrep.l, irrep.p) for irrep in whole])
    act = last.child("non_linearity", "acts", "0")
    gate = act.value("f", "?") if act is not None else None
    if gate is not None and gate not in _GATES:
        raise read.refused(f"the function in its readout is unknown ({str(gate)[:40]})")
    return last.name, mlp, gate


def _tables(read: _Reader, layer: int) -> tuple[tuple[tuple[tuple[int, ...], bool], ...], ...]:
    path = f"products.{layer}.symmetric_contractions.contractions"
    found = []
    for index in range(len(read.module(path).children)):
        order = _count(read, f"{path}.{index}", "correlation")
        if order > _HIGHEST_ORDER:
            raise read.refused(f"`{path}.{index}.correlation` is {order}")
        tables = []
        for nu in range(1, order + 1):
            table = read.tensors.get(f"{path}.{index}.U_matrix_{nu}")
            if table is None or table.numel() == 0:
                raise read.refused(f"`{path}.{index}.U_matrix_{nu}` is missing")
            tables.append((tuple(table.shape), not bool(table.any())))
        found.append(tuple(tables))
    return tuple(found)
