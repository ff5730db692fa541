"""MACE's backbone computed by another algebra than mace-torch's: the same parameters, the same numbers, less work.

Five ideas, each exact, each in a module of its own:

* ``arrangement``: atoms sorted by element, so that weights of an element act on a slice; the neighbours of every atom
  in a row of slots, so that a sum over neighbours is a matrix product; both directions of a pair of atoms share one
  distance.
* ``linear``: features of one kind lie together, channels last, so that a layer is one matrix product a kind.
* ``harmonics`` and ``radial``: functions of the edge vectors, once for each pair.
* ``convolution``: messages are never formed; harmonics times coupling coefficients make one small matrix for each atom.
* ``contraction``: products of features once for each multiset of components, not once for each order of them.

``layers`` puts them together as mace-torch's blocks do, ``core`` the whole backbone, and ``frozen`` a backbone whose
weights no longer change, for export.
"""

from mace_app.model.fast.arrangement import Arrangement, arrange
from mace_app.model.fast.core import Core, NotCovered
from mace_app.model.fast.frozen import FrozenCore

__all__ = ["Arrangement", "Core", "FrozenCore", "NotCovered", "arrange"]
