"""Jobs of this machine that are killed."""

import random
from pathlib import Path

from faults.inputs import Inputs
from faults.kills import Job, kill_local
from faults.outcome import Outcome


def score(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    words = ["score", "--bundle", str(inputs.bundle), "--images", str(inputs.images(2400)), "--keep", "site"]
    words += ["--unit-rows", "10", "--workers", "2", "--explain", "4", "--gallery", "20"]
    return kill_local(Job(words, "scores"), folder, kills, chance)


def sample(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    """Half of the kills for each format."""
    words = ["sample", "--bundle", str(inputs.bundle), "--count", "2400", "--draw", "--workers", "2"]
    packed = Job([*words, "--unit-rows", "20"], "images")
    files = Job([*words, "--unit-rows", "40", "--format", "png"], "index")
    outcome = kill_local(packed, folder / "packed", kills - kills // 2, chance)
    return outcome + kill_local(files, folder / "files", kills // 2, chance)


def prepare(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    words = ["prepare", "--source", str(inputs.images(30000, 1000)), "--workers", "2"]
    return kill_local(Job(words, "images"), folder, kills, chance)


def calibrate(inputs: Inputs, folder: Path, kills: int, chance: random.Random) -> Outcome:
    words = ["calibrate", "--bundle", str(inputs.bundle), "--images", str(inputs.images(2400))]
    return kill_local(Job(words, last="manifest.json", writes_once=True), folder, kills, chance)
