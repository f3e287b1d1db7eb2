"""The flagged images: the part of a scoring report to act on."""

from jobs.report.blocks import Block, Note, Section
from jobs.report.wording import count, counted
from jobs.score.flagged import Flagged
from jobs.score.outliers_csv import OUTLIERS
from jobs.score.summary import ScoreSummary


def flagged_section(flagged: Flagged, summary: ScoreSummary) -> Section:
    """The gallery of the outliers and discoveries."""
    title = "Flagged images"
    if not flagged.total:
        return Section("flagged", title, "None: no image is an outlier or a discovery.", [])
    cut = "" if flagged.listed == flagged.total else f", the {count(flagged.listed)} most outlying"
    lead = f"{counted(flagged.total, 'image')}, outliers or discoveries. {OUTLIERS} lists them{cut}"
    blocks: list[Block] = []
    gallery = flagged.gallery
    if gallery is None:
        lead += "; --gallery is 0, so none is shown here."
    else:
        shown = "" if gallery.count == flagged.total else f" The gallery has the {count(gallery.count)} most outlying."
        gone = f" {counted(flagged.unreadable, 'image')} can no longer be read." if flagged.unreadable else ""
        by = "" if summary.classes is None else " They are ordered by p-value, then by score."
        lead += f".{shown}{gone}{by}"
        blocks = [gallery]
        if gallery.folder:
            blocks.append(
                Note(f"The pictures are in the folder {gallery.folder}/ beside this page: keep them together.")
            )
    return Section("flagged", title, lead, blocks)
