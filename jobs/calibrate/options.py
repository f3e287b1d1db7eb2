"""Options of `vae calibrate`."""

from dataclasses import dataclass

from export.runtime.device import Provider


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Put images of your own in the place of a bundle's calibration set."""

    bundle: str
    """The bundle, made by `vae export`: a path or a URL. It is left as it is."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of clean images, like those that will be scored; the model must not have been
    trained on them."""

    output: str
    """Directory or URL of the new bundle: new or empty."""

    resize: bool = False
    """Convert images of another size or channel count, instead of leaving them out."""

    provider: Provider = "auto"
    """What computes the images' scores, as in `vae score`: where it is another one that scores later, the two are
    compared first."""
