"""The description of one output of a graph: its meaning, unit and tolerance.

A likelihood describes its parameters, a family its statistics, a graph its outputs. Manifest, model card, parity check
and report read the descriptions; none of them hard-codes an output.
"""

from typing import NamedTuple


class Output(NamedTuple):
    """One named output, with the batch first."""

    name: str
    meaning: str
    unit: str
    tolerance: float = 1e-5
    """Largest |Δ| / max(scale, |value|) allowed between two runtimes in fp32; whole grey levels for uint8 images."""
    scale: float = 1.0
    """Smallest magnitude that differences are relative to: rounding errors do not shrink with a value near zero."""
