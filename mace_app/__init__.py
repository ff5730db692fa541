"""MACE Studio: labelled structures in, a trained, checked and exported machine-learned potential out."""

__version__ = "0.1.0"
