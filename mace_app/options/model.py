"""The hyperparameters of the MACE model itself, under ``architecture.model``."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from mace_app.options.base import Options, shown
from mace_app.options.blocks import DENSITY_INTERACTIONS, FirstInteraction, Interaction
from mace_app.options.errors import Problem, refuse
from mace_app.options.fields import option
from mace_app.options.irreps import HIGHEST_L, Irrep, format_irreps, parse_irreps, reachable_kinds

# What a foundation file decides; its readouts too, but these two also describe added heads: `MLP_irreps` and `gate`.
FROM_FILE = (
    "r_max",
    "num_radial_basis",
    "radial_type",
    "num_cutoff_basis",
    "apply_cutoff",
    "distance_transform",
    "pair_repulsion",
    "hidden_irreps",
    "num_interactions",
    "correlation",
    "max_ell",
    "edge_irreps",
    "interaction_first",
    "interaction",
    "avg_num_neighbors",
    "radial_MLP",
    "use_agnostic_product",
    "use_last_readout_only",
    "use_embedding_readout",
)
# mace-torch 0.3.16 needs over a minute to set up products of 9⁵ entries and two seconds for 9⁴.
MOST_PRODUCTS = 20_000


_OTHER_FILES = {
    ".pt": "an exported metatomic file holds no weights that can be trained; name the `.model` file beside it",
    ".ckpt": "a checkpoint of metatrain can run any code when it is opened; name a `.model` file of MACE",
    ".safetensors": "it is a checkpoint of a run; name the run's `model.model`",
}


def _mace_heads(value: Any) -> dict[str, str | None]:
    if isinstance(value, list | tuple):
        value = dict.fromkeys(value)
    if not isinstance(value, Mapping) or not all(isinstance(head, str | None) for head in value.values()):
        raise refuse(
            "`more_mace_heads` must be a mapping from targets to heads of the file, such as `{energy/replay: null}`; "
            f"it is {shown(value)}."
        )
    return {str(target): head or None for target, head in value.items()}


MaceHeads = Annotated[dict[str, str | None], BeforeValidator(_mace_heads)]


class ModelHypers(Options):
    """Every architecture hyperparameter of ``experimental.mace``, with the names metatrain gives them."""

    hints: ClassVar[dict[str, str]] = {
        "cutoff": "the cutoff radius is called `r_max`.",
        "num_bessel": "the number of radial functions is called `num_radial_basis`.",
        "num_polynomial_cutoff": "the exponent of the cutoff envelope is called `num_cutoff_basis`.",
        "num_channels": "channels and angular momenta are given together as `hidden_irreps: 128x0e + 128x1o`.",
        "max_L": "channels and angular momenta are given together as `hidden_irreps: 128x0e + 128x1o`.",
        "num_layers": "the number of message passing layers is called `num_interactions`.",
        "batch_size": "it belongs under `architecture.training`.",
        "learning_rate": "it belongs under `architecture.training`.",
    }

    mace_model: str | None = option(
        None,
        title="Foundation model",
        section="Foundation model",
        importance="simple",
        widget="path",
        help="A published MACE file (`.model`) to start from instead of random weights.",
        explanation=(
            "Starting from a model that has already seen much chemistry needs far fewer structures of your own. The "
            "file fixes the architecture: cutoff, irreps, layers and elements then come from it, and the options below "
            "that describe them no longer apply. It is read as data; nothing in it is executed. Leave it empty to "
            "train from scratch."
        ),
    )
    mace_head_name: str | None = option(
        None,
        title="Head of the foundation model",
        section="Foundation model",
        help="Which head of a foundation file with several heads to use.",
        explanation=(
            "Some published files hold one readout per level of theory, for example one for PBE and one for r2SCAN. "
            "The name chooses among them; a file with a single head needs no name. It means nothing without a "
            "foundation model."
        ),
    )
    mace_head_target: str = option(
        "energy",
        title="Target of MACE's own readout",
        section="Foundation model",
        help="The target that MACE's built-in energy readout predicts; all others get a head of their own.",
        explanation=(
            "MACE comes with readouts for one scalar, summed over layers and atoms. The target named here uses them, "
            "which is what published MACE potentials do for the energy. Change it only if your main scalar target has "
            "another name, such as `energy/pbe`."
        ),
    )
    more_mace_heads: MaceHeads = option(
        default_factory=dict,
        title="More MACE heads",
        section="Foundation model",
        help="Further energies with readouts of MACE's own, each with the head of the file that it starts from.",
        explanation=(
            "`{energy/replay: null}` trains a second energy over the same features, for data of another level of "
            "theory, or for a part of the data that the foundation model learned from, so that fine-tuning does not "
            "forget it. Its readouts start from the head named here, or from that of the main target; from scratch "
            "they start at random. Each is exported as a variant of the energy. metatrain has no such option."
        ),
    )
    r_max: float = option(
        5.0,
        title="Cutoff radius",
        section="Neighbourhood",
        importance="simple",
        unit="Å",
        ge=0.1,
        le=40.0,
        help="Atoms closer than this see each other directly, in the length unit of the data.",
        explanation=(
            "Information travels one cutoff per layer, so two layers of 5 Å reach 10 Å. Molecules and covalent solids "
            "do well with 4.5 to 6 Å; ionic or layered materials may need more. Time and memory grow with the number "
            "of neighbours, that is with the third power of the radius in a dense material."
        ),
    )
    num_radial_basis: int = option(
        8,
        title="Radial functions",
        section="Neighbourhood",
        ge=1,
        le=64,
        help="How many functions describe the distance between two atoms.",
        explanation=(
            "More functions resolve finer structure along a bond length. Eight are enough for most data; ten to "
            "sixteen can help with a long cutoff or strongly compressed structures. The cost is small."
        ),
    )
    radial_type: Literal["bessel", "gaussian", "chebyshev"] = option(
        "bessel",
        title="Family of radial functions",
        section="Neighbourhood",
        help="The shape of the functions that describe distances.",
        explanation=(
            "Bessel functions are the usual choice and oscillate over the whole range. Gaussians are local in "
            "distance, Chebyshev polynomials resolve both ends of their interval more finely; they need "
            "`distance_transform: Agnesi`. The choice rarely decides the accuracy."
        ),
    )
    num_cutoff_basis: int = option(
        5,
        title="Exponent of the cutoff envelope",
        section="Neighbourhood",
        ge=1,
        le=20,
        help="How late and how steeply the influence of a neighbour fades out towards the cutoff.",
        explanation=(
            "The envelope is a polynomial that goes smoothly to zero at the cutoff, and this number is its exponent, "
            "not a count. A larger exponent keeps distant neighbours visible for longer and then drops faster. There "
            "is seldom a reason to change it."
        ),
    )
    apply_cutoff: bool = option(
        True,
        title="Envelope before the radial network",
        section="Neighbourhood",
        help="Whether the cutoff envelope multiplies the input of the radial network, or its output.",
        explanation=(
            "On, the radial functions fade out before they enter the network, as in the original MACE. Off, the "
            "network sees plain radial functions and its output is faded, as in the newest foundation models. Both "
            "give smooth forces."
        ),
    )
    distance_transform: Literal["Agnesi", "Soft"] | None = option(
        None,
        title="Distance transform",
        section="Neighbourhood",
        help="Stretch distances according to the size of the two atoms before the radial functions see them.",
        explanation=(
            "A transform measures a distance in units of the covalent radii, so that bonds of very different lengths "
            "look alike to the model. It helps when many elements occur, as in the foundation models, and matters "
            "little for one organic molecule. It assumes lengths in Å."
        ),
    )
    pair_repulsion: bool = option(
        False,
        title="Pair repulsion (ZBL)",
        section="Neighbourhood",
        help="Add a fixed screened nuclear repulsion at very short distances.",
        explanation=(
            "The Ziegler-Biersack-Littmark term keeps atoms from collapsing onto each other where there are no "
            "training data, for example in hot or irradiated systems. It acts below the sum of the covalent radii and "
            "has no parameters to fit. It assumes lengths in Å and belongs to MACE's own energy readout."
        ),
    )
    hidden_irreps: str = option(
        "128x0e + 128x1o + 128x2e",
        title="Features per atom",
        section="Size and symmetry",
        importance="simple",
        widget="irreps",
        help="How many channels describe an atom, and which angular shapes they carry.",
        explanation=(
            "`128x0e + 128x1o` means 128 scalar and 128 vector channels on every layer but the last, which keeps only "
            "the scalars. More channels and higher angular momenta are more accurate and slower: 32 to 64 channels "
            "with `0e + 1o` train well on a CPU, 128 with `0e + 1o + 2e` want a GPU. All kinds need the same number of "
            "channels, scalars come first, and a vector target needs `1o` here."
        ),
    )
    num_interactions: int = option(
        2,
        title="Message passing layers",
        section="Size and symmetry",
        importance="simple",
        ge=1,
        le=6,
        help="How many times atoms exchange information with their neighbours.",
        explanation=(
            "Each layer extends the reach of the model by one cutoff and costs about as much as the one before. Two "
            "are the proven choice; a third seldom pays. With one layer the model is fast and strictly local, but "
            "predicts scalars only."
        ),
    )
    correlation: int = option(
        3,
        title="Correlation order",
        section="Size and symmetry",
        importance="simple",
        ge=1,
        le=5,
        help="How many neighbours are combined into one feature.",
        explanation=(
            "Order 1 sees pairs of atoms, 2 sees angles, 3 sees dihedral-like arrangements of four atoms, in a single "
            "layer. Three is MACE's strength and its default; two is markedly faster and often good enough for simple "
            "systems. Every order above three multiplies memory and start-up time."
        ),
    )
    max_ell: int = option(
        3,
        title="Highest angular momentum of edges",
        section="Size and symmetry",
        ge=0,
        le=6,
        not_built_values={0: "mace-torch can't build a model that sees no directions."},
        help="How finely the direction to a neighbour is resolved.",
        explanation=(
            "Directions are expanded in spherical harmonics up to this order. Three resolves common coordination "
            "geometries; two is faster. Together with the correlation order it limits the angular momenta that "
            "features can have."
        ),
    )
    edge_irreps: str | None = option(
        None,
        title="Features sent along edges",
        section="Size and symmetry",
        widget="irreps",
        help="Irreps of the messages between atoms from the second layer on; empty means those of the atoms.",
        explanation=(
            "Sending fewer channels along edges than atoms have saves much time, because there are many more edges "
            "than atoms. Large foundation models do this with 128 channels on atoms. Only irreps that the features "
            "have can be sent."
        ),
    )
    interaction_first: FirstInteraction = option(
        "RealAgnosticResidualInteractionBlock",
        title="First interaction block",
        section="Layers",
        help="The kind of message passing in the first layer.",
        explanation=(
            "Residual blocks keep a direct connection from the features of the layer before, density blocks divide "
            "messages by a learned local density, and the non-linear block adds gates. The default fits most data; "
            "density blocks help when coordination numbers vary widely. Short names such as `RealAgnosticDensity` are "
            "understood."
        ),
    )
    interaction: Interaction = option(
        "RealAgnosticResidualInteractionBlock",
        title="Later interaction blocks",
        section="Layers",
        help="The kind of message passing in every layer after the first.",
        explanation=(
            "The same kinds as for the first layer, and in addition an attention-like block whose weights also depend "
            "on the features of both atoms. That block has a fixed radial network of three times 256. It means nothing "
            "for a model with one layer."
        ),
    )
    avg_num_neighbors: Literal["auto"] | Annotated[float, Field(gt=0)] = option(
        "auto",
        title="Average number of neighbours",
        section="Layers",
        help="What messages are divided by; `auto` counts it in the training set.",
        explanation=(
            "Dividing the sum over neighbours by their usual number keeps the features near one whatever the density "
            "of the material. `auto` is right unless you want to match another model exactly; metatrain's default is "
            "1. Blocks with a learned density don't use it."
        ),
    )
    radial_MLP: list[Annotated[int, Field(ge=1, le=4096)]] = option(
        default_factory=lambda: [64, 64, 64],
        title="Radial network",
        section="Layers",
        help="Widths of the hidden layers of the network that turns a distance into weights.",
        explanation=(
            "This small network runs once for every edge. Three layers of 64 are the usual size; smaller ones are "
            "faster with few data, larger ones are found in foundation models. The attention block ignores it and uses "
            "its own."
        ),
    )
    use_agnostic_product: bool = option(
        False,
        title="Same products for all elements",
        section="Layers",
        help="Use one set of product weights for all elements instead of one each.",
        explanation=(
            "The weights that combine neighbours into many-body features normally exist once per element. Sharing them "
            "makes a model for many elements much smaller and lets rare elements profit from common ones. With few "
            "elements it costs accuracy."
        ),
    )
    gate: Literal["silu", "tanh", "abs"] | None = option(
        "silu",
        title="Non-linearity of the readouts",
        section="Readouts",
        help="The function between the two layers of the last readout and of scalar heads.",
        explanation=(
            "It acts on scalar channels only: on MACE's own last readout and on the heads of added scalar targets. "
            "`silu` is the usual choice; `null` makes these readouts linear."
        ),
    )
    MLP_irreps: str = option(
        "16x0e",
        title="Width of the readouts",
        section="Readouts",
        widget="irreps",
        help="Hidden scalar channels of the last readout and of scalar heads.",
        explanation=(
            "Readouts turn the features of an atom into numbers. Sixteen channels are enough for an energy; a target "
            "with many values per structure may want more. Only scalars (`0e`) are possible, because a non-linearity "
            "would spoil the symmetry of anything else."
        ),
    )
    use_last_readout_only: bool = option(
        False,
        title="Read the last layer only",
        section="Readouts",
        help="Whether MACE's own readout uses only the last layer instead of the sum over all layers.",
        explanation=(
            "Normally every layer contributes to the energy, which gives a natural split into local and longer-ranged "
            "parts. Reading the last layer only is what some newer models do. Heads added for other targets always see "
            "all layers."
        ),
    )
    kernels: Literal["auto", "fast", "reference", "cueq"] = option(
        "auto",
        title="How the layers are computed",
        section="Layers",
        help="Which code computes the layers; the numbers are the same to rounding.",
        explanation=(
            "`fast` is this program's own order of computing, about three times faster than mace-torch's on a CPU with "
            "the same parameters. `reference` uses mace-torch's own modules. `auto` takes the fast one wherever it "
            "covers the model, and says in the log what is used. `cueq` uses NVIDIA's cuEquivariance where it is "
            "installed, which is made for GPUs; without one it is slow. Weights can be exchanged freely between all."
        ),
    )
    use_embedding_readout: bool = option(
        False,
        title="Readout of the embedding",
        section="Readouts",
        help="Add a contribution read from the embedding of total charge and spin.",
        explanation=(
            "Models that are told the total charge or spin of a structure can read an energy directly from that "
            "information. Without such inputs there is nothing to read, and the option would have no effect."
        ),
        not_built="it reads embedded charge and spin, and models with those inputs come with a later version.",
    )

    @field_validator("avg_num_neighbors", mode="before")
    @classmethod
    def _automatic_or_positive(cls, value: Any) -> Any:
        if value == "auto":
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = 0.0
        if isinstance(value, bool) or not 0 < number < float("inf"):
            raise refuse(f"`avg_num_neighbors` must be `auto` or a number above 0; it is {shown(value)}.")
        return number

    @field_validator("hidden_irreps", "edge_irreps", "MLP_irreps", mode="after")
    @classmethod
    def _readable_irreps(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_irreps(value)
            except ValueError as error:
                raise refuse(str(error)) from None
        return value

    @field_validator("hidden_irreps", mode="after")
    @classmethod
    def _what_mace_can_hold(cls, value: str) -> str:
        try:
            irreps = parse_irreps(value)
        except ValueError:
            return value  # the other validator has said so
        if irreps[0].kind != "0e":
            scalars = f"{irreps[0].mul}x0e"
            raise refuse(
                f"`{value}` must begin with scalars, because the last layer keeps only the first entry: "
                f"write `{format_irreps([Irrep(irreps[0].mul, 0, 1), *(i for i in irreps if i.kind != '0e')])}` or "
                f"`{scalars}`."
            )
        kinds = [irrep.kind for irrep in irreps]
        repeated = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if repeated is not None:
            raise refuse(f"`{value}` names `{repeated}` more than once; add its channels up in one entry.")
        if len({irrep.mul for irrep in irreps}) > 1:
            equal = format_irreps([irrep._replace(mul=irreps[0].mul) for irrep in irreps])
            raise refuse(f"All entries of `{value}` must have the same number of channels, for example `{equal}`.")
        return value

    @field_validator("MLP_irreps", mode="after")
    @classmethod
    def _scalars_only(cls, value: str) -> str:
        others = [irrep for irrep in _readable(value) if irrep.kind != "0e"]
        if others:
            raise refuse(f"`{value}` may hold scalars (`0e`) only, not `{others[0]}`; write for example `16x0e`.")
        return value

    @field_validator("radial_MLP", mode="after")
    @classmethod
    def _some_width(cls, value: list[int]) -> list[int]:
        if not 1 <= len(value) <= 8:
            raise refuse("`radial_MLP` needs between one and eight hidden layers, for example `[64, 64, 64]`.")
        return value

    def problems(self) -> list[Problem]:
        if self.mace_model is not None:
            return self._file_problems(self.mace_model)
        named = [("mace_head_name", self.mace_head_name), *self.more_mace_heads.items()]
        return [
            *(
                Problem(
                    ("mace_head_name",) if place == "mace_head_name" else ("more_mace_heads", place),
                    f"`{head}` names a head of a foundation file, and there is none; give `mace_model` too, or leave "
                    "the head empty.",
                )
                for place, head in named
                if head is not None
            ),
            *self._symmetry_problems(),
            *self._single_layer_problems(),
            *self._divisor_problems(),
        ]

    def _file_problems(self, file: str) -> list[Problem]:
        """What the file decides must stand at its default, where it has no effect."""
        found = [
            Problem(
                (name,),
                f"`{name}` has no effect with `mace_model`: the architecture comes from the file. Leave it at its "
                "default, or train from scratch.",
            )
            for name in FROM_FILE
            if self.changed(name)
        ]
        suffix = PurePath(file).suffix
        if not file.strip():
            why = "`mace_model` is empty; name a `.model` file of MACE, or leave it out to train from scratch."
            found.append(Problem(("mace_model",), why))
        elif suffix not in (".model", ""):  # mace-torch's cache takes the dot out of names
            why = _OTHER_FILES.get(suffix, "and MACE's files end in `.model`")
            found.append(Problem(("mace_model",), f"`mace_model: {file}` can't be a starting point: {why}."))
        return found

    def feature_irreps(self) -> list[Irrep]:
        """The irreps an added head can read: those of every layer but the last, which holds only scalars. Without
        meaning where ``mace_model`` is set: the file has its own."""
        irreps = parse_irreps(self.hidden_irreps)
        return irreps if self.num_interactions > 1 else irreps[:1]

    def _symmetry_problems(self) -> list[Problem]:
        found = self._size_problems()
        if found:
            return found
        hidden = parse_irreps(self.hidden_irreps)
        reached = reachable_kinds(self.max_ell, self.correlation)
        # Pseudo-scalars let later layers reach what the first can't.
        only_first = self.num_interactions < 3 or all(irrep.kind != "0o" for irrep in hidden)
        for irrep in hidden:
            if irrep.l > self.max_ell * self.correlation or (only_first and (irrep.l, irrep.p) not in reached):
                found.append(
                    Problem(
                        ("hidden_irreps",),
                        f"`{irrep}` would stay zero: with `max_ell: {self.max_ell}` and `correlation: "
                        f"{self.correlation}` "
                        f"products of neighbours never have the symmetry `{irrep.kind}`. Leave it out or raise these "
                        "two.",
                    )
                )
        kinds = {irrep.kind for irrep in hidden}
        gated = "RealAgnosticResidualNonLinearInteractionBlock"
        if "0o" in kinds and gated in (self.interaction, self.interaction_first):
            found.append(
                Problem(
                    ("hidden_irreps",),
                    "`0o` can't pass through the gates of the non-linear interaction block, which would spoil its "
                    f"symmetry. Leave it out of `{self.hidden_irreps}`, or choose another interaction block.",
                )
            )
        for irrep in parse_irreps(self.edge_irreps) if self.edge_irreps else []:
            if irrep.kind not in kinds:
                found.append(
                    Problem(
                        ("edge_irreps",),
                        f"`{irrep}` would stay empty, because `hidden_irreps: {self.hidden_irreps}` has no "
                        f"`{irrep.kind}`.",
                    )
                )
        return found

    def _size_problems(self) -> list[Problem]:
        entries = (self.max_ell + 1) ** (2 * self.correlation)
        if self.max_ell * self.correlation <= HIGHEST_L and entries <= MOST_PRODUCTS:
            return []
        return [
            Problem(
                ("correlation",),
                f"`correlation: {self.correlation}` together with `max_ell: {self.max_ell}` needs larger tables of "
                "coupling "
                "coefficients than mace-torch has or can make in reasonable time; lower one of the two.",
            )
        ]

    def _single_layer_problems(self) -> list[Problem]:
        if self.num_interactions > 1:
            return []
        found = [
            Problem(
                (name,), f"`{name}` has no effect with `num_interactions: 1`: it describes the layers after the first."
            )
            for name in ("interaction", "edge_irreps")
            if self.changed(name)
        ]
        if self.use_last_readout_only:
            found.append(
                Problem(
                    ("use_last_readout_only",),
                    "`use_last_readout_only` needs at least two layers: a model with one layer would be left without "
                    "a readout.",
                )
            )
        return found

    def _divisor_problems(self) -> list[Problem]:
        blocks = {self.interaction_first} | ({self.interaction} if self.num_interactions > 1 else set())
        if self.changed("avg_num_neighbors") and blocks <= DENSITY_INTERACTIONS:
            return [
                Problem(
                    ("avg_num_neighbors",),
                    "`avg_num_neighbors` has no effect with these interaction blocks: they divide by a learned "
                    "density. "
                    "Leave it at `auto`.",
                )
            ]
        return []


def _readable(text: str) -> list[Irrep]:
    try:
        return parse_irreps(text)
    except ValueError:
        return []
