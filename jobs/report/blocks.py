"""The content of a page as plain data: a head, then sections of blocks.

`page.html` renders each kind of block, so code that computes a block writes no HTML, and every job composes its own
page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Picture(NamedTuple):
    """One image for display."""

    source: str  # a data: URI
    width: int  # display size in CSS pixels: an integer multiple of the image's own if `crisp`
    height: int
    alt: str
    crisp: bool  # enlarged without smoothing: pixels appear as squares
    marked: bool = False  # drawn with a frame


class Figure(NamedTuple):
    """One key figure: its label, its value, and a sentence that explains it."""

    label: str
    value: str
    meaning: str
    tone: str = ""  # "alert": in the colour of outliers; "quiet": small, for hashes and names


@dataclass(frozen=True)
class Figures:
    """Key figures side by side."""

    kind: ClassVar[str] = "figures"
    items: Sequence[Figure]


class Layer(NamedTuple):
    """One shape of a chart: an SVG path in a 100 × 100 box, y pointing down, and its CSS class."""

    path: str
    style: str


class Tick(NamedTuple):
    """An axis label, `at` per cent of the axis length."""

    at: float
    label: str


class Mark(NamedTuple):
    """A labelled vertical line; the label is left of the line if `flipped`, `level` rows down."""

    at: float
    label: str
    style: str
    flipped: bool = False
    level: int = 0


class Key(NamedTuple):
    """A legend entry."""

    name: str
    style: str


@dataclass(frozen=True)
class Chart:
    """A chart; its text is HTML, so that font sizes do not scale with the chart."""

    kind: ClassVar[str] = "chart"
    title: str
    description: str  # for screen readers
    layers: Sequence[Layer]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_title: str = ""
    marks: Sequence[Mark] = ()
    keys: Sequence[Key] = ()


@dataclass(frozen=True)
class Charts:
    """Charts side by side as space allows; a single one takes the full width."""

    kind: ClassVar[str] = "charts"
    items: Sequence[Chart]


@dataclass(frozen=True)
class Scale:
    """The legend of a colour map, from `low` to `high`."""

    kind: ClassVar[str] = "scale"
    name: str
    low: str
    high: str
    colours: Sequence[str]  # CSS colours from low to high


class Bar(NamedTuple):
    """A labelled bar that starts at the zero line of its card; `left` and `right` in per cent of the track."""

    label: str
    value: str
    left: float
    right: float
    style: str  # "out" raises the score, "in" lowers it


class Card(NamedTuple):
    """Related pictures with a headline, a short fact and their source."""

    pictures: Sequence[Picture]
    headline: str
    fact: str = ""
    source: str = ""
    badge: str = ""
    reason: str = ""
    bars: Sequence[Bar] = ()
    zero: float = 0.0  # zero line of the bars, in per cent of their track
    others: Sequence[Picture] = ()  # smaller pictures for comparison


@dataclass(frozen=True)
class Cards:
    """A gallery."""

    kind: ClassVar[str] = "cards"
    items: Sequence[Card]
    reading: Sequence[str] = ()  # names of the pictures of each card, in order
    caption: str = ""
    others: str = ""  # name of the smaller pictures
    title: str = ""


class Row(NamedTuple):
    """A row of a `Matrix`."""

    label: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Matrix:
    """Pictures in rows and columns; without row labels, the label column is omitted."""

    kind: ClassVar[str] = "matrix"
    rows: Sequence[Row]
    columns: Sequence[str] = ()
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Wall:
    """Many pictures of one kind, wrapped into rows."""

    kind: ClassVar[str] = "wall"
    pictures: Sequence[Picture]
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the columns named in `numeric` are right-aligned."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class Note:
    """A remark."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Gallery:
    """Pictures that a reader sorts, filters, selects and exports; see `jobs.report.gallery`."""

    kind: ClassVar[str] = "gallery"
    data: str  # a literal of JavaScript, safe in HTML; empty if it is in files
    pictures: str  # the same
    folder: str  # of the files, relative to the page; empty if the page has all
    count: int


Block = Figures | Chart | Charts | Scale | Cards | Matrix | Wall | Table | Note | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str  # a short word: its anchor, and its entry in the table of contents
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Head:
    """The top of the page: the main result, and the key figures."""

    kicker: str  # the kind of report, above the title
    title: str
    lead: str
    figures: Figures = Figures(())
