"""Options of `vae demo`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoOptions:
    """The whole road on a small data set that ships with the package."""

    output: str = "demo"
    """Directory for everything the demo makes."""
    workers: int = 2
    """Training workers."""
    epochs: int | None = None
    """Passes over the training images; by default the recipe's."""
    samples: int = 1000
    """Images to generate."""
    fdr: float = 0.1
    """Accepted share of clothes among the found."""
