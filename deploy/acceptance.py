"""Try a cluster end to end on this machine: two Ray nodes with a token, S3-compatible storage, and a node that dies.

    python deploy/acceptance.py

It starts a head and a second node (`ray start`, 2 CPUs each) and a storage server, uploads the images of the demo, and
submits train, export, score and sample as `ray job submit` does. Half-way through scoring it kills all processes of the
second node. At the end the rows must add up, and scores and samples must equal those of this process without a cluster.
It takes about five minutes on two cores, and uses nothing but this machine and, once, the package index.
"""

import argparse
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
DATA = ROOT / "jobs" / "demo" / "data" / "fashion_mnist_8k_train.parquet"
RAY, UV = (str(Path(sys.executable).with_name(name)) for name in ("ray", "uv"))
STORAGE_SERVER = "moto[server]==5.2.5"  # multipart uploads, conditional writes
BUCKET = "acceptance"
COPIES = 4  # of the demo's 8,000 images, to be scored: enough work to lose a node in the middle
SAMPLES = 2000
PATIENCE = 600.0  # seconds, for anything
STARTED = time.monotonic()


def say(line: str) -> None:
    """Print a line with the time since the start."""
    seconds = int(time.monotonic() - STARTED)
    print(f"{seconds // 60}:{seconds % 60:02}  {line}", flush=True)


def fail(reason: str) -> NoReturn:
    """End the script with a reason and exit code 1; everything it has started ends too."""
    raise SystemExit(f"FAILED: {reason}")


def wait(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`, or the end of the script after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    fail(f"no {what} within {PATIENCE:.0f} s")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with ExitStack() as opened:
        listeners = [opened.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def listens(port: int) -> bool:
    """Whether somebody answers at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def descendants(process: int) -> list[int]:
    """A process and all that it and its children have started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [process]
    for known in found:
        found.extend(child for child, parent in parents if parent == known)
    return found


def kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a process with everything below it at once, as a machine that loses its power; returns how many."""
    doomed = descendants(process.pid)
    for one in doomed:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()
    return len(doomed)


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the background, killed with its descendants at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)


def storage_server(scratch: Path) -> Path:
    """The storage server's program, installed from the package index in an environment of its own."""
    folder = scratch / "storage-server"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, STORAGE_SERVER], check=True)
    return folder / "bin" / "moto_server"


class Cluster:
    """Two nodes of Ray on this machine that ask for a token, with the job server."""

    def __init__(self, scratch: Path, environment: dict[str, str], resources: ExitStack) -> None:
        from ray.job_submission import JobSubmissionClient  # reads the mode of authentication when it is imported

        self.gcs, self.dashboard, client = free_ports(3)
        self.url = f"http://127.0.0.1:{self.dashboard}"
        self.scratch, self.environment, self.resources = scratch, environment, resources
        head = ["--head", f"--port={self.gcs}", "--include-dashboard=true", f"--dashboard-port={self.dashboard}"]
        self.head = self.start("head", [*head, f"--ray-client-server-port={client}"])
        wait(lambda: self.head.poll() is not None or listens(self.dashboard), "job server")
        self.second = self.start("second", [f"--address=127.0.0.1:{self.gcs}"])
        self.check_token()
        logging.disable(logging.WARNING)  # Ray's, about what it uploads
        self.client = JobSubmissionClient(self.url)

    def start(self, name: str, options: list[str]) -> subprocess.Popen[bytes]:
        """Start a node; its ports are its own, as the other is on the same machine."""
        agent, agent_grpc, runtime, metrics = free_ports(4)
        command = [
            *(RAY, "start", "--block", *options, "--num-cpus=2"),
            *("--object-store-memory=200000000", f"--temp-dir={self.scratch / name}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
            *(f"--runtime-env-agent-port={runtime}", f"--metrics-export-port={metrics}"),
        ]
        return self.resources.enter_context(running(command, self.scratch / f"{name}.log", self.environment))

    def check_token(self) -> None:
        """The job server refuses whoever has no token."""
        try:
            urllib.request.urlopen(f"{self.url}/api/jobs/").close()
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return say("the job server refuses a request without the token: HTTP 401")
        fail("the job server answers without the token")

    def nodes(self) -> int:
        """The number of living nodes."""
        from ray.util.state import list_nodes

        listed = list_nodes(address=self.url, raise_on_missing_output=False)
        return sum(node.state == "ALIVE" for node in listed)

    def submit(self, entrypoint: str, **options: Any) -> str:
        """Submit a job as `ray job submit --working-dir .` does; returns its id."""
        say(f"$ ray job submit --working-dir . -- {entrypoint}")
        return str(self.client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": str(ROOT)}, **options))

    def finish(self, job: str) -> None:
        """Follow a job's log to its end, and print the last lines."""
        command = [RAY, "job", "logs", "--follow", "--address", self.url, job]
        followed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        status = wait(lambda: (found := self.client.get_job_status(job)).is_terminal() and found, "end of the job")
        # Without what the program `ray` says itself, in colour.
        lines = [line for line in followed.stdout.splitlines() if line.strip() and "cli.py" not in line]
        for line in lines[-2 if status == "SUCCEEDED" else -40 :]:
            say(f"    {line[:160]}")
        say(f"    {status}")
        if status != "SUCCEEDED":
            fail(f"the job is {status}")


def table(folder: str) -> pa.Table:
    """All rows of the Parquet files in a folder, a path or an s3:// URL."""
    filesystem, path = pafs.FileSystem.from_uri(folder) if "://" in folder else (pafs.LocalFileSystem(), folder)
    return pq.read_table(path, filesystem=filesystem)


def parts(storage: pafs.FileSystem, folder: str) -> int:
    """The number of finished units in the output of a job."""
    selector = pafs.FileSelector(f"{folder}/scores", allow_not_found=True)
    return sum(bool(re.fullmatch(r"part-\d+\.parquet", found.base_name)) for found in storage.get_file_info(selector))


def compare(name: str, ours: pa.Table, theirs: pa.Table, keys: list[str]) -> None:
    """Fail unless two tables have the same rows, with numbers that differ by at most 1e-5 of their size."""
    ours, theirs = (table.sort_by([(key, "ascending") for key in keys]) for table in (ours, theirs))
    if ours.schema.names != theirs.schema.names or not ours.select(keys).equals(theirs.select(keys)):
        fail(f"{name}: other rows or columns than without a cluster")
    worst = 0.0
    for column in (column for column in ours.schema.names if column not in keys):
        left, right = ours[column], theirs[column]
        if pa.types.is_floating(left.type):
            one, other = left.to_numpy(), right.to_numpy()
            worst = max(worst, float(np.max(np.abs(one - other) / np.maximum(1.0, np.abs(other)))))
        elif not left.equals(right):
            fail(f"{name}: column {column} differs from that without a cluster")
    if worst > 1e-5:
        fail(f"{name}: differs by {worst:.1e} from that without a cluster")
    say(f"{name}: {len(ours):,} rows equal those without a cluster, worst relative difference {worst:.1e}")


def without_cluster(job: str, *arguments: str) -> None:
    """Run a command of `vae` in this machine's threads."""
    command = [sys.executable, "-m", f"jobs.{job}", *arguments, "--engine", "local", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def main() -> None:
    """Run everything; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage-server", type=Path, help="moto_server, if it is installed already")
    chosen = parser.parse_args()
    with ExitStack() as resources:
        scratch = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="vae-", dir="/tmp")))
        program = chosen.storage_server or storage_server(scratch)
        (port,) = free_ports(1)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
        command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
        resources.enter_context(running(command, scratch / "storage.log", environment))
        wait(lambda: listens(port), "storage server")
        url = f"s3://{BUCKET}/first"
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",  # whose python the entrypoints are
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "acceptance",
            "AWS_SECRET_ACCESS_KEY": "acceptance",
            "AWS_REGION": "us-east-1",
            "VAE_STORAGE": url,
            "VAE_BUNDLE": f"{url}/bundle",
            "RAY_AUTH_MODE": "token",
            "HOME": str(scratch),  # where the token is
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        os.environ.update(environment)
        subprocess.run([RAY, "get-auth-token", "--generate"], check=True, capture_output=True)
        maker = pafs.S3FileSystem(allow_bucket_creation=True, endpoint_override=f"http://127.0.0.1:{port}")
        maker.create_dir(BUCKET)
        storage, folder = pafs.FileSystem.from_uri(url)
        content = DATA.read_bytes()
        for name in ["images/train.parquet", *(f"new/{copy}.parquet" for copy in range(COPIES))]:
            with storage.open_output_stream(f"{folder}/{name}") as stream:
                stream.write(content)
        say(f"storage server at port {port}; {url} holds {1 + COPIES} files of images")

        cluster = Cluster(scratch, environment, resources)
        wait(lambda: cluster.nodes() == 2, "second node")
        say("two nodes of 2 CPUs each")

        small = "--epochs 1 --widths 16 32 --latent-dim 8 --workers 2 --quiet"
        cluster.finish(
            cluster.submit(f"python -m jobs.train --images $VAE_STORAGE/images --run $VAE_STORAGE/run {small}")
        )
        export = "python -m jobs.export --run $VAE_STORAGE/run --bundle $VAE_BUNDLE"
        cluster.finish(cluster.submit(export, entrypoint_num_cpus=2))

        rows = COPIES * pq.read_metadata(DATA).num_rows
        units = 500
        job = cluster.submit(
            "python -m jobs.score --bundle $VAE_BUNDLE --images $VAE_STORAGE/new --output $VAE_STORAGE/scores"
            f" --unit-rows {units} --workers 4"
        )
        half = rows // units // 2
        seen = wait(lambda: (found := parts(storage, f"{folder}/scores")) >= half and found, "parts")
        say(f"{seen} parts are there: the second node dies ({kill(cluster.second)} processes)")
        cluster.finish(job)
        wait(lambda: cluster.nodes() == 1, "news of the death")
        say("one node is left")
        sample = f"python -m jobs.sample --bundle $VAE_BUNDLE --count {SAMPLES} --output $VAE_STORAGE/corpus"
        cluster.finish(cluster.submit(sample))

        scores = table(f"{url}/scores/scores")
        if len(scores) != rows or scores.select(["file", "row"]).to_pandas().duplicated().any():
            fail(f"{len(scores):,} rows are scored, {rows:,} were given")
        say(f"{rows:,} images given, {len(scores):,} scored, none twice")
        for name, arguments in [("score", ["--images", f"{url}/new"]), ("sample", ["--count", str(SAMPLES)])]:
            without_cluster(name, "--bundle", f"{url}/bundle", "--output", str(scratch / name), *arguments)
        compare("scores", scores, table(str(scratch / "score" / "scores")), ["file", "row"])
        compare("samples", table(f"{url}/corpus/images"), table(str(scratch / "sample" / "images")), ["index"])
    say("all as it should be")


if __name__ == "__main__":
    main()
