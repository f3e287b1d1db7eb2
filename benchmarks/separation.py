"""How well the scores of two jobs separate known images from strangers, and what the known images' likelihood is.

    python benchmarks/separation.py out/fashion-test out/mnist

prints JSON: AUROC of outlier_score and of every statistic alone, the false positive rate at the job's fpr, and mean
likelihoods with standard errors where the first job estimated them.
"""

import json
import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.storage import Folder

_SKIPPED = (
    "file",
    "row",
    "is_outlier",
    "p_value",
    "p_value_tail",
    "elbo",
    "log_px",
    "effective_samples",
    "bits_per_dim",
)


def auroc(known: npt.NDArray[Any], strangers: npt.NDArray[Any]) -> float:
    """P(stranger scores higher than known) + ½ P(equal): the Mann–Whitney statistic."""
    ordered = np.sort(known)
    below = np.searchsorted(ordered, strangers, side="left")
    up_to = np.searchsorted(ordered, strangers, side="right")
    return float((below + up_to).mean() / 2 / len(known))


def share_flagged(known: npt.NDArray[Any], strangers: npt.NDArray[Any], found: float) -> float:
    """The share of known images that are flagged where the threshold finds this share of the strangers or more."""
    threshold = np.sort(strangers)[math.floor((1.0 - found) * len(strangers) + 1e-9)]
    return float((known >= threshold).mean())


def read(job: str) -> pa.Table:
    folder = Folder.at(job).child("scores")
    return pa.concat_tables([folder.read_table(name) for name in folder.names()])


def measure(known_job: str, stranger_job: str) -> dict[str, Any]:
    known, strangers = read(known_job), read(stranger_job)
    summary = json.loads(Folder.at(known_job).read_text("summary.json"))
    score, other = (table["outlier_score"].to_numpy() for table in (known, strangers))
    names = [n for n in known.column_names if n not in _SKIPPED and pa.types.is_floating(known[n].type)]
    alone = {n: auroc(known[n].to_numpy(), strangers[n].to_numpy()) for n in names if n != "outlier_score"}
    result: dict[str, Any] = {
        "known": len(known),
        "strangers": len(strangers),
        "auroc": auroc(score, other),
        "fpr_at_95_tpr": share_flagged(score, other, 0.95),
        "fpr": summary["fpr"],
        "false_positive_rate": float(known["is_outlier"].to_numpy(zero_copy_only=False).mean()),
        "strangers_flagged": float(strangers["is_outlier"].to_numpy(zero_copy_only=False).mean()),
        "auroc_of_each_statistic_alone": alone,
    }
    for name in ("elbo", "log_px", "bits_per_dim", "effective_samples"):
        if name in known.column_names:
            values = known[name].to_numpy().astype(np.float64)
            result[name] = {"mean": values.mean(), "standard_error": values.std() / len(values) ** 0.5}
    return result


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} KNOWN_SCORES STRANGER_SCORES")
    print(json.dumps(measure(*sys.argv[1:]), indent=2))
