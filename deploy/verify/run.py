"""Run the graphs of every family of models in every runtime that installs here, and print one table.

    make verify                            # or: python deploy/verify/run.py
    python deploy/verify/run.py --all      # the slow runtimes for every family, too

The runtimes go into the folder .verify; one that cannot be installed is skipped, and said so. Exit code 1 if a runtime
that opens a graph computes it wrongly.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from every_family import FAMILIES  # noqa: E402
from jobs.verify.registry import RUNTIMES  # noqa: E402

SLOW = ("tvm", "iree", "onnx", "webgpu")
"""They take up to a minute for a bundle, WebGPU without a graphics card, and run for FEW families unless all are asked
for."""
FEW = ("conv",)
PARALLEL = 2
_INSTALL, _ANSWER = 300, 120  # seconds


class Found(NamedTuple):
    """What `vae verify` says of one bundle."""

    family: str
    report: dict[str, Any]
    problem: str  # what it said instead of a report


def main() -> None:
    """See the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".verify")
    parser.add_argument("--all", action="store_true", help="the slow runtimes for every family")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="NAME")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(exist_ok=True)
    pythons = [python for name in ("runtimes", "openvino-provider") if (python := environment(folder, name))]
    node_modules = npm_packages(folder)
    bundles = write_bundles(folder / "bundles", arguments.families)
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = [
            pool.submit(verify, family, bundles / family, pythons, node_modules, arguments.all or family in FEW)
            for family in arguments.families
        ]
        found = [job.result() for job in jobs]
    print("\n".join(table(found)), flush=True)
    wrong = [*problems(found), *examples(bundles / arguments.families[0], pythons, node_modules)]
    for each in wrong:
        print(f"WRONG: {each}")
    sys.exit(1 if wrong else 0)


def environment(folder: Path, name: str) -> Path | None:
    """The interpreter of an environment with the packages of NAME.txt; None if they cannot be installed."""
    place, wanted = folder / name, HERE / f"{name}.txt"
    python, marker = place / "bin" / "python", place / "installed.txt"
    if marker.exists() and marker.read_bytes() == wanted.read_bytes():
        return python
    shutil.rmtree(place, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python), "--requirement", str(wanted)]
    if failed := failure([sys.executable, "-m", "venv", "--without-pip", str(place)]) or failure(install):
        print(f"skipped: the runtimes of {wanted.name} cannot be installed: {failed}", flush=True)
        return None
    marker.write_bytes(wanted.read_bytes())
    return python


def npm_packages(folder: Path) -> Path:
    """The folder of npm packages, which need not be there."""
    place, wanted = folder / "npm", (HERE / "package.json").read_bytes()
    marker = place / "node_modules" / "installed.json"
    if not (marker.exists() and marker.read_bytes() == wanted):
        place.mkdir(exist_ok=True)
        (place / "package.json").write_bytes(wanted)
        # The packages' own install steps download libraries for GPUs.
        command = ["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        if failed := failure(command, cwd=place):
            print(f"skipped: onnxruntime-node and onnxruntime-web cannot be installed: {failed}", flush=True)
        else:
            marker.write_bytes(wanted)
    return place / "node_modules"


def failure(command: Sequence[str], cwd: Path | None = None) -> str | None:
    """Why a command failed, None if it did not."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    last = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return None if done.returncode == 0 else " ".join(last) or f"exit code {done.returncode}"


def write_bundles(folder: Path, families: Sequence[str]) -> Path:
    """The bundles of the families, made anew: they are what is checked."""
    shutil.rmtree(folder, ignore_errors=True)
    script = str(ROOT / "tests" / "every_family.py")
    processes = [
        subprocess.Popen([sys.executable, script, str(folder), *share], env=one_thread(), stdout=subprocess.DEVNULL)
        for i in range(PARALLEL)
        if (share := families[i::PARALLEL])
    ]
    for process in processes:
        if process.wait():
            sys.exit(f"the bundles could not be made: {script} ended with exit code {process.returncode}")
    return folder


def verify(family: str, bundle: Path, pythons: Sequence[Path], node_modules: Path, with_slow: bool) -> Found:
    """`vae verify` with all runtimes, or without the slow ones."""
    skipped = [] if with_slow else ["--skip", *SLOW]
    command = [sys.executable, "-m", "jobs.verify", "--bundle", str(bundle), "--json", *skipped]
    command += ["--python", *map(str, pythons)] if pythons else []
    command += ["--node-modules", str(node_modules), "--time-limit", str(_ANSWER)]
    done = subprocess.run(command, cwd=ROOT, env=one_thread(), capture_output=True, text=True, check=False)
    print(f"{family}: {'agrees' if done.returncode == 0 else 'differs'}", flush=True)
    try:
        return Found(family, json.loads(done.stdout), "")
    except ValueError:
        return Found(family, {"runtimes": {}, "graphs": []}, done.stderr.strip())


def one_thread() -> dict[str, str]:
    """The environment of processes that share the cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def table(found: Sequence[Found]) -> list[str]:
    """A line for each family and graph, a column for each runtime: the difference as a share of what is allowed."""
    versions = {name: each for one in found for name, each in one.report["runtimes"].items() if each["version"]}
    names = [name for name in RUNTIMES if name in versions]
    lines = [f"{name}: {versions[name]['title']} {versions[name]['version']}" for name in names]
    missing = [name for name in RUNTIMES if name not in names and any(name in one.report["runtimes"] for one in found)]
    lines += [f"skipped: {name} is not installed; {RUNTIMES[name].install}" for name in missing]
    lines += ["", f"| family | graph | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    reasons: dict[str, str] = {}
    for one in found:
        cells: dict[str, dict[str, str]] = {}
        for each in one.report["graphs"]:
            cells.setdefault(each["graph"], {})[each["runtime"]] = cell(each)
            if each["error"]:
                reasons[f"{one.family}, {each['graph']} in {each['runtime']}"] = f"{each['status']}: {each['error']}"
        for graph, by_runtime in cells.items():
            values = [by_runtime.get(name, "") for name in names]
            lines.append(f"| {one.family} | {graph.removesuffix('.onnx')} | {' | '.join(values)} |")
    lines += ["", *(f"{where}: {' '.join(why.split())[:300]}" for where, why in reasons.items())]
    return lines


def cell(row: dict[str, Any]) -> str:
    """The worst difference of a graph as a share of what is allowed; 1 and less agree."""
    if row["status"] in ("failed", "not loaded"):
        return str(row["status"])
    shares = [each["share"] for outputs in row["batches"].values() for each in outputs]
    worst = max(float("inf") if share is None else share for share in shares)
    return f"{worst:.2g}" if worst < 1000 else f"{worst:.0e}"


def problems(found: Sequence[Found]) -> list[str]:
    """What is wrong."""
    wrong = [f"{one.family}: {one.problem}" for one in found if one.problem]
    return wrong + [
        f"{one.family}, {each['graph']} in {each['runtime']}: {each['status']}"
        for one in found
        for each in one.report["graphs"]
        if each["status"] in ("differs", "failed") and RUNTIMES[each["runtime"]].judged
    ]


def examples(bundle: Path, pythons: Sequence[Path], node_modules: Path) -> list[str]:
    """Run the examples of deploy/examples whose runtime is installed, each of which checks itself."""
    folder, wrong = ROOT / "deploy" / "examples", []
    commands: dict[str, list[str]] = {}
    if pythons and pythons[0].parent.parent.name == "runtimes":
        commands["openvino_score.py"] = [str(pythons[0])]
    if (node_modules / "onnxruntime-node").is_dir() and shutil.which("node"):
        commands["score.mjs"] = ["node"]
    for name, command in commands.items():
        environment = {**os.environ, "NODE_MODULES": str(node_modules)}
        words = [*command, str(folder / name), str(bundle)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        print(f"{name}: {(done.stdout if done.returncode == 0 else done.stderr).strip()}", flush=True)
        if done.returncode:
            wrong.append(f"deploy/examples/{name}")
    return wrong


if __name__ == "__main__":
    main()
