"""Options of `vae calibrate`."""

from dataclasses import dataclass

from export.runtime.device import Provider


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Recalibrate a bundle's p-values on your own clean images."""

    bundle: str
    """Path or URL of a bundle made by `vae export`; not modified."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of clean images from the distribution to be scored, not used in training."""

    output: str
    """Output folder of the new bundle, a path or URL: new or empty."""

    per_class: str | None = None
    """Column of the images that names the class of each, integers or text, for `vae score --per-class`."""

    resize: bool = False
    """Letterbox images of another size and convert other channel counts; otherwise they are left out. A bundle whose
    training images were letterboxed does so always."""

    provider: Provider = "auto"
    """ONNX Runtime provider, as in `vae score`. If scoring later uses another provider, the two are compared first."""
