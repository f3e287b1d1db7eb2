"""Options of `vae demo`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoOptions:
    """Run everything end to end on two small data sets that ship with the package."""

    output: str = "demo"
    """Output folder."""
    workers: int = 2
    """Training workers."""
    epochs: int | None = None
    """Training epochs; default the recipe's."""
    samples: int = 1000
    """Images to generate."""
    fdr: float = 0.1
    """False discovery rate: the expected share of ordinary images among the discoveries."""
