"""What a page is made of: sections holding blocks, as plain data.

A section is a title, a sentence and some blocks; a page is a head and sections in order. `page.html` knows how
each kind of block looks, so what computes a block writes no HTML, and every job composes its own page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Picture(NamedTuple):
    """One image, ready to be shown."""

    source: str  # a data: URI
    width: int  # CSS pixels at which it looks best: a whole multiple of its own when it is crisp
    height: int
    alt: str
    crisp: bool  # enlarged: show its pixels as squares instead of smoothing them away
    marked: bool = False  # drawn with a frame


class Figure(NamedTuple):
    """One key figure: what it is called, its value, and what that means in a plain sentence."""

    label: str
    value: str
    meaning: str
    tone: str = ""  # "alert": coloured as outliers are; "quiet": small, for hashes and names


@dataclass(frozen=True)
class Figures:
    """Key figures side by side."""

    kind: ClassVar[str] = "figures"
    items: Sequence[Figure]


class Layer(NamedTuple):
    """One shape of a chart: an SVG path in a 100 × 100 box whose y grows downwards, and its style's name."""

    path: str
    style: str


class Tick(NamedTuple):
    """A value written at an axis, `at` per cent of the way along it."""

    at: float
    label: str


class Mark(NamedTuple):
    """A vertical line through a chart with its label, on the line's left if `flipped`, `level` rows down."""

    at: float
    label: str
    style: str
    flipped: bool = False
    level: int = 0


class Key(NamedTuple):
    """A line of a chart's legend."""

    name: str
    style: str


@dataclass(frozen=True)
class Chart:
    """A chart; its text is set by the page, so that it keeps its size on every screen."""

    kind: ClassVar[str] = "chart"
    title: str
    description: str  # what a reader who cannot see it should know
    layers: Sequence[Layer]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_title: str = ""
    marks: Sequence[Mark] = ()
    keys: Sequence[Key] = ()


@dataclass(frozen=True)
class Charts:
    """Charts beside each other, as many as there is room for; a single one takes the whole width."""

    kind: ClassVar[str] = "charts"
    items: Sequence[Chart]


@dataclass(frozen=True)
class Scale:
    """The key of a colour map: what its colours mean, from `low` to `high`."""

    kind: ClassVar[str] = "scale"
    name: str
    low: str
    high: str
    colours: Sequence[str]  # CSS colours from low to high


class Bar(NamedTuple):
    """A labelled value as a bar from the zero line of its card's track, whose ends are in per cent of the track."""

    label: str
    value: str
    left: float
    right: float
    style: str  # "out" pushes, "in" pulls


class Card(NamedTuple):
    """A few pictures that belong together, a headline, a fact beside it, and where they come from."""

    pictures: Sequence[Picture]
    headline: str
    fact: str = ""
    source: str = ""
    badge: str = ""
    reason: str = ""
    bars: Sequence[Bar] = ()
    zero: float = 0.0  # where the bars start, in per cent of their track
    others: Sequence[Picture] = ()  # smaller, to compare with


@dataclass(frozen=True)
class Cards:
    """A gallery."""

    kind: ClassVar[str] = "cards"
    items: Sequence[Card]
    reading: Sequence[str] = ()  # what the pictures of each card are, in order
    caption: str = ""
    others: str = ""  # what the smaller pictures are
    title: str = ""


class Row(NamedTuple):
    """One row of a picture matrix."""

    label: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Matrix:
    """Pictures in rows and columns; where rows have no labels, there is no room for them."""

    kind: ClassVar[str] = "matrix"
    rows: Sequence[Row]
    columns: Sequence[str] = ()
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Wall:
    """Many pictures of one kind, as many in a row as there is room for."""

    kind: ClassVar[str] = "wall"
    pictures: Sequence[Picture]
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the columns named in `numeric` are set flush right."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class Note:
    """A plain sentence, where there is nothing to show or something to know."""

    kind: ClassVar[str] = "note"
    text: str


Block = Figures | Chart | Charts | Scale | Cards | Matrix | Wall | Table | Note


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str  # a short word: its address within the page, and its entry in the table of contents
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Head:
    """The top of the page: what kind of page it is, the finding in a sentence, and the figures behind it."""

    kicker: str
    title: str
    lead: str
    figures: Figures = Figures(())
