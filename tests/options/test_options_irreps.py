"""Irreps without e3nn."""

import pytest

from mace_app.options.irreps import Irrep, format_irreps, parse_irreps, reachable_kinds


@pytest.mark.parametrize(
    ("text", "irreps"),
    [
        ("128x0e + 64x1o", [Irrep(128, 0, 1), Irrep(64, 1, -1)]),
        ("128x0e+64x1o", [Irrep(128, 0, 1), Irrep(64, 1, -1)]),
        (" 2 x 2e ", [Irrep(2, 2, 1)]),
        ("1o", [Irrep(1, 1, -1)]),
    ],
)
def test_irreps_are_read_in_e3nns_notation(text: str, irreps: list[Irrep]) -> None:
    assert parse_irreps(text) == irreps
    assert parse_irreps(format_irreps(irreps)) == irreps


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "empty"), ("128x0e + 12y1o", "`12y1o`"), ("8x0e +", "``"), ("8x", "`8x`"), ("0x1o", "no channels"),
     ("4x12e", "beyond 11"), ("-4x0e", "`-4x0e`"), ("4x1", "`4x1`")],
)  # fmt: skip
def test_the_part_of_an_irreps_text_that_is_wrong_is_named(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r"\.") as caught:
        parse_irreps(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("max_ell", "correlation", "beyond_natural"),
    [(1, 3, set()), (2, 2, {"2o"}), (2, 3, {"1e", "2o", "3e", "4o"}), (3, 1, set()), (3, 2, {"2o", "3e", "4o"})],
)
def test_pseudo_tensors_appear_exactly_where_mace_torchs_coupling_tables_have_entries(
    max_ell: int, correlation: int, beyond_natural: set[str]
) -> None:
    """Compared with mace.tools.cg.U_matrix_real of mace-torch 0.3.16, contracted with random vectors, up to l = 4."""
    kinds = {Irrep(1, l, p).kind for l, p in reachable_kinds(max_ell, correlation) if l <= 4}  # noqa: E741
    natural = {Irrep(1, l, (-1) ** l).kind for l in range(min(4, max_ell * correlation) + 1)}  # noqa: E741
    assert kinds == natural | beyond_natural
