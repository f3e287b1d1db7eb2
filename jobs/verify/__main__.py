"""Run a bundle's probe batch in other runtimes, and compare with what PyTorch computed.

    vae verify --bundle bundles/photos
    vae verify --bundle bundles/photos --runtime openvino tract --python other-environment/bin/python
    vae verify --bundle bundles/photos --runtime node web --node-modules page/node_modules

Exit code 1 if a runtime that opens a graph computes it wrongly, 2 if a runtime that was named is not installed or opens
no graph.
"""

import sys
from collections.abc import Sequence

from jobs.program.cli import run_main
from jobs.verify.job import verify
from jobs.verify.options import VerifyOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae verify`."""
    run_main("verify", VerifyOptions, _verify, argv)


def _verify(options: VerifyOptions) -> None:
    if not verify(options):
        sys.exit(1)


if __name__ == "__main__":
    main()
