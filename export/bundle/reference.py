"""A reference to the bundle that a job was planned with: sent to workers instead of the bundle itself."""

from dataclasses import dataclass

from export.bundle.format import MANIFEST, Bundle
from vae_core.errors import BundleError


@dataclass(frozen=True)
class BundleRef:
    """A bundle by address and hash; picklable, and valid in any process that sees the same storage."""

    address: str
    """A URL or an absolute path: another process may have another working directory."""

    hash: str
    """SHA-256 of the manifest that was read when the job was planned."""

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleRef":
        """The reference to an open bundle."""
        return cls(bundle.folder.address, bundle.hash)

    @property
    def manifest(self) -> str:
        """The address of the bundle's manifest: a file that every worker must see."""
        return f"{self.address}/{MANIFEST}"

    def open(self) -> Bundle:
        """Open and verify the bundle.

        Raises:
            BundleError: the bundle cannot be opened (see `Bundle.open`), or it is no longer the one referred to.
        """
        bundle = Bundle.open(self.address)
        if bundle.hash != self.hash:
            raise BundleError(
                f"{self.address} has changed since the job was planned; restore that bundle, or choose another --output"
            )
        return bundle
