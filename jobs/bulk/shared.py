"""Refuse storage that the workers of a cluster cannot share, before any work starts.

A local path means another disk on every node, unless it is mounted there: results would be scattered over the
cluster, and inputs missing. Whether a path is shared shows only by looking: the driver writes a token into the
output, and a task on every node looks for it, and for some files of the input, as the driver sees them.
"""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from export.storage import Folder, open_filesystem
from jobs.bulk.salvage import describe
from jobs.bulk.shipping import shipped
from vae_core.errors import UserError

_PATIENCE = 120  # seconds for a node to start a process and answer


def require_shared(output: Folder, files: Sequence[str]) -> None:
    """Check that every node that may work sees `output` and `files`, where these lie on local disks.

    Args:
        output: where the job writes; it need not exist, and is left as it was.
        files: paths or URLs of files that the workers read; those on object stores are not looked at.

    Raises:
        UserError: a node does not see one of them.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    nodes = {
        node["NodeID"]: node["NodeManagerHostname"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0 and node["NodeID"] != here
    }
    if not nodes:
        return
    with _token(output) as token:
        local = [*token, *(path for file in files if (path := _local_path(file)) is not None)]
        if local:
            _ask(nodes, [(path, Path(path).stat().st_size) for path in local], output)


def _ask(nodes: dict[str, str], files: list[tuple[str, int]], output: Folder) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(shipped(missing))
    pending = {}
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        pending[look.options(num_cpus=0, max_retries=1, scheduling_strategy=strategy).remote(files)] = node
    answers, silent = ray.wait(list(pending), num_returns=len(pending), timeout=_PATIENCE)
    for reference in silent:
        raise UserError(f"the node {nodes[pending[reference]]} does not answer; check the cluster with `ray status`")
    for reference in answers:
        try:
            lost = ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = describe(getattr(error, "cause", error))
            raise UserError(
                f"the node {nodes[pending[reference]]} cannot run the job ({reason}); "
                "every node needs the same version of vae-core and what it depends on"
            ) from error
        for path in lost:
            is_token = path == files[0][0] and Path(path).name.startswith(".shared-")
            what = output.url if is_token else path
            raise UserError(
                f"the node {nodes[pending[reference]]} cannot see {what}; "
                "use storage that every node shares (s3://…, or a mounted network disk)"
            )


def missing(files: Sequence[tuple[str, int]]) -> list[str]:
    """Which of `files` (path, size) are not here, or not of that size."""
    return [path for path, size in files if not os.path.isfile(path) or os.path.getsize(path) != size]  # noqa: PTH113, PTH202


def _local_path(file: str) -> str | None:
    import pyarrow.fs as pafs

    filesystem, path = open_filesystem(file)
    return path if isinstance(filesystem, pafs.LocalFileSystem) else None


@contextmanager
def _token(output: Folder) -> Iterator[list[str]]:
    """A file of a name that no other place has, in the output while the block runs; none on an object store."""
    if not output.is_local:
        yield []
        return
    folder = Path(output.path)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".shared-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield [str(token)]
    finally:
        token.unlink()
        for path in made:
            path.rmdir()
