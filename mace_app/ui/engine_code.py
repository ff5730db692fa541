"""Lines to paste that run an exported file in LAMMPS and in i-PI. Both take the plain output ``energy``."""

from collections.abc import Sequence

from mace_app.ui.elements import symbol

# What a molecule or an oxide is likely made of; a model for nearly all elements can't have them all in one example.
_USUAL = (1, 6, 8, 14)
_MOST = 4


def lammps_code(file_name: str, elements: Sequence[int]) -> str:
    """An input script that reads ``structure.data``. It needs the LAMMPS of metatomic, see
    https://docs.metatensor.org/metatomic/latest/engines/lammps.html; ``elements`` are atomic numbers."""
    types = example_elements(elements)
    listed = ", ".join(f"{place} is {symbol(z)}" for place, z in enumerate(types, start=1))
    return (
        "units metal\n"
        "atom_style atomic\n"
        "boundary p p p\n"
        "read_data structure.data\n"
        "\n"
        f"pair_style metatomic {file_name}\n"
        f"# the atomic number of each atom type of structure.data, in their order; here {listed}\n"
        f"pair_coeff * * {' '.join(str(z) for z in types)}\n"
        "\n"
        "velocity all create 300 1234\n"
        "timestep 0.0005\n"
        "fix 1 all nve\n"
        "thermo 10\n"
        "run 100\n"
    )


def example_elements(elements: Sequence[int]) -> list[int]:
    """All of a few elements, otherwise the most usual ones among them; in the order of the table."""
    known = sorted(set(elements))
    if len(known) <= _MOST:
        return known
    return [z for z in _USUAL if z in known] or known[:_MOST]


def ipi_code(file_name: str) -> str:
    """An ``input.xml`` for ``i-pi input.xml`` with a short dynamics of ``structure.xyz``, which must have a cell."""
    return f"""<simulation verbosity='low'>
  <output prefix='simulation'>
    <properties stride='1'> [step, time{{picosecond}}, conserved{{electronvolt}}, temperature{{kelvin}}] </properties>
  </output>
  <total_steps> 100 </total_steps>
  <ffdirect name='mace'>
    <pes> metatomic </pes>
    <parameters> {{template: structure.xyz, model: {file_name}, device: cpu}} </parameters>
  </ffdirect>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> structure.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='mace'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""
