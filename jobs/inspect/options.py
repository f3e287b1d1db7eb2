"""Options of `vae inspect`."""

from dataclasses import dataclass

import tyro


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Say what a bundle, a run or the output of a job is, and how far it is."""

    path: tyro.conf.Positional[str]
    """Path or URL of a bundle, a run or the output of a job."""

    bundle_hash: str | None = None
    """Refuse any bundle but that of this hash."""

    json: bool = False
    """Print JSON, for programs."""
