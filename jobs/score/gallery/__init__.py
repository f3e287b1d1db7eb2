"""The flagged images of a scoring job, for somebody who must act: pictures, reasons, groups of near-identical ones."""
