"""Time and cost of a job, from measured parameters and explicit assumptions.

A job consists of start, work and end:

    start = Ray's start + footers + plan
    work  = the longest of  workers:  U (R c + w) / W     the driver: K r     the network: N b / (n B)
            + one unit, the time by which the last worker may end later
    end   = the longest of  counting:  P s / C     the driver's network: N b' / B

with N images in U units of R rows, W workers on n nodes, c seconds of a core per image (read, decode, infer, encode),
w seconds of waiting per unit (storage), K calls of r seconds each, b and b' bytes read and written per image, B bytes a
second per node, P parts, s seconds for each, and C cores of the driver's node.

On GPUs, inference runs on the GPUs and the rest on the cores beside them; the slower of the two counts.
"""

from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.scaling.measured import Measured, PerImage
from jobs.bulk.on_ray import WORKERS_FED, WORKERS_FED_ON_GPUS, calls
from jobs.bulk.placement import MAX_WORKERS_PER_GPU
from jobs.images.source import SLICES, UNIT_BYTES, UNIT_ROWS

STORAGE_CALLS = 5  # of a unit, for its markers and its commit: counted by tests/jobs/bulk/test_storage_calls.py
FILE_CALLS, GROUP_CALLS = 4, 1  # of a file of a unit: a look, two for the footer, one for the rows; of a row group
FOOTER_CALLS = 2  # of a file, in the plan
HOUR = 3600.0


@dataclass(frozen=True)
class Assumptions:
    """Parameters that are not measured. Prices are rounded list prices of on-demand machines, as of the date."""

    date: str = "2026-11"
    cpu_price: float = 0.04  # $ per vCPU-hour, memory included
    gpu_price: float = 3.00  # $ per GPU-hour, with its share of a node's vCPUs and memory
    vcpus_per_core: float = 1.0  # 2 where a vCPU is a hyperthread: the measured core is one thread of this machine
    gpu_images_grey: float = 500_000.0  # scored in a second by a GPU, 28×28
    gpu_images_colour: float = 60_000.0  # 64×64
    cores_per_gpu: int = 12
    bandwidth: float = 1.25e9  # bytes per second between a node and the storage
    gpu_bandwidth: float = 6.25e9  # of a node of eight GPUs
    latency: float = 0.03  # seconds of a call to an object store
    file_rows: int = 50_000
    group_rows: int = 10_000
    footers_at_once: int = 16  # that the plan asks for
    cluster_start: float = 0.0  # with machines running; add the time the cloud takes to start them


class Images(NamedTuple):
    """The input."""

    rows: int
    image_bytes: int  # of one, decoded
    png: bool


class Machines(NamedTuple):
    """The cluster."""

    nodes: int
    cores: int  # of each node
    gpus: int = 0  # of all nodes
    gpu_images: float = 0.0  # scored in a second by each


class Prediction(NamedTuple):
    """Seconds of each phase, the bottleneck of the work, and the price."""

    start: float
    work: float
    end: float
    limit: str
    terms: dict[str, float]
    dollars: float

    @property
    def seconds(self) -> float:
        return self.start + self.work + self.end


def unit_rows(rows: int, image_bytes: float, group_rows: int = 10_000) -> float:
    """The rows of a unit, as `plan_units` cuts them; row groups are not cut into more than some slices."""
    target = min(max(rows // 64, 1024), UNIT_ROWS, max(1, int(UNIT_BYTES // image_bytes)))
    piece = group_rows / -(-group_rows // max(target, -(-group_rows // SLICES)))
    return max(1, round(target / piece)) * piece


def predict(
    measured: Measured, image: PerImage, assumed: Assumptions, images: Images, machines: Machines
) -> Prediction:
    """A job over `images`, each of which costs what `image` says, on `machines`."""
    rows, image_bytes, png = images
    nodes, cores, gpus, gpu_images = machines
    read, stored = (image.read_png, image.png_bytes) if png else (image.read_packed, image.packed_bytes)
    each = unit_rows(rows, image_bytes)
    units, files = rows / each, rows / assumed.file_rows
    on_core = read + image.encode + (0.0 if gpus else image.inference)
    reads = FILE_CALLS * max(1.0, each / assumed.file_rows) + GROUP_CALLS * max(1.0, each / assumed.group_rows)
    waits = (STORAGE_CALLS + reads) * assumed.latency
    workers = gpus * MAX_WORKERS_PER_GPU if gpus else nodes * cores
    fed = WORKERS_FED_ON_GPUS if gpus else WORKERS_FED
    driver_calls = len(calls(range(int(units)), workers, fed))  # type: ignore[type-var]
    bandwidth = assumed.gpu_bandwidth if gpus else assumed.bandwidth
    terms = {
        "the cores": rows * on_core / (nodes * cores) + units * waits / workers,
        "the driver": driver_calls * measured.receipt,
        "the network": rows * (stored + image.written_bytes) / (nodes * bandwidth),
    }
    if gpus:
        terms["the GPUs"] = rows / (gpus * gpu_images)
    limit = max(terms, key=terms.__getitem__)
    last = each * (on_core + (MAX_WORKERS_PER_GPU / gpu_images if gpus else 0.0)) + waits
    footers = max(files * measured.footer, files * FOOTER_CALLS * assumed.latency / assumed.footers_at_once)
    start = assumed.cluster_start + measured.ray_start + measured.process_start + footers + units * measured.plan_entry
    counting = units * measured.survey_part * each / 32_768
    end = units * measured.list_part + max(counting / cores, rows * image.written_bytes / bandwidth)
    total = start + terms[limit] + last + end
    price = gpus * assumed.gpu_price if gpus else nodes * cores * assumed.vcpus_per_core * assumed.cpu_price
    terms |= {"counting (driver's cores)": counting / cores, "footers": footers}
    return Prediction(start, terms[limit] + last, end, limit, terms, total / HOUR * price)


def simulation(image: PerImage, measured: Measured, rows: int, cost: float, workers: int, cores: int) -> float:
    """Seconds of the simulated job's work: workers that sleep for the model's cost, on few real cores."""
    each = unit_rows(rows, 784)
    waiting = each * (cost + image.encode) + measured.markers + measured.commit
    computing = rows * image.encode
    return max(rows / each * waiting / workers, computing / cores)
