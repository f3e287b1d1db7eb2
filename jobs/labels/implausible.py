"""The images whose given labels are the least plausible, read again to be shown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jobs.discoveries.top import Place, read_rows
from jobs.labels.columns import CONFIDENCE, LABEL_P_VALUE, LABEL_RANK, PREDICTED
from jobs.report.pictures import Pixels
from jobs.score.explain.recall import recall_images
from jobs.score.plan import ScoreJob


class Implausible(NamedTuple):
    """An image whose label looks wrong."""

    image: Pixels
    file: str
    row: int
    given: str  # titles of classes
    predicted: str
    values: Mapping[str, Any]  # of the columns of labels


def least_plausible(job: ScoreJob, places: Sequence[Place]) -> list[Implausible]:
    """The rows at `places` of the scores; images that can no longer be read are left out."""
    about = job.about_classes
    if about is None or about.given is None or not places:
        return []
    columns = ["file", "row", about.given, PREDICTED, CONFIDENCE, LABEL_P_VALUE, LABEL_RANK]
    rows = read_rows(job.parts, places).select(columns)
    titles = [about.labels.names_of(about.labels.indices(rows[name])).to_pylist() for name in (about.given, PREDICTED)]
    values = rows.to_pylist()
    images = recall_images(job.units, places, values, job.contract)
    return [
        Implausible(image, str(each["file"]), int(each["row"]), given, predicted, each)
        for image, each, given, predicted in zip(images, values, *titles, strict=True)
        if image is not None
    ]
