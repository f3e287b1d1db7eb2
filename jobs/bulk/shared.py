"""Check that all nodes of a cluster share the storage, before any work starts.

A local path is a different disk on every node, unless it is mounted there: results would be scattered, and inputs
missing. The driver writes a token file to the output, and a task on every node looks for it and for some input files.
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

_TIMEOUT = 120  # seconds for a node to start a process and answer


def require_shared(output: Folder, files: Sequence[str]) -> None:
    """Check that every node with CPUs sees `output` and `files`, if they are local paths.

    Args:
        output: output folder; may be missing, and is left unchanged.
        files: paths or URLs of input files; those on object stores are not checked.

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
            _check_nodes(nodes, [(path, Path(path).stat().st_size) for path in local], output)


def _check_nodes(nodes: dict[str, str], files: list[tuple[str, int]], output: Folder) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(shipped(missing))
    pending = {}
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        pending[look.options(num_cpus=0, max_retries=1, scheduling_strategy=strategy).remote(files)] = node
    answers, silent = ray.wait(list(pending), num_returns=len(pending), timeout=_TIMEOUT)
    for reference in silent:
        raise UserError(f"node {nodes[pending[reference]]} does not respond; check the cluster with `ray status`")
    for reference in answers:
        try:
            lost = ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = describe(getattr(error, "cause", error))
            raise UserError(
                f"node {nodes[pending[reference]]} cannot run the job ({reason}); "
                "install the same versions of vae-core and its dependencies on every node"
            ) from error
        for path in lost:
            is_token = path == files[0][0] and Path(path).name.startswith(".shared-")
            what = output.url if is_token else path
            raise UserError(
                f"node {nodes[pending[reference]]} cannot see {what}; "
                "use storage that all nodes share (s3://…, or a mounted network disk)"
            )


def missing(files: Sequence[tuple[str, int]]) -> list[str]:
    """Which of `files` (path, size) are missing here, or have another size."""
    return [path for path, size in files if not os.path.isfile(path) or os.path.getsize(path) != size]  # noqa: PTH113, PTH202


def _local_path(file: str) -> str | None:
    import pyarrow.fs as pafs

    filesystem, path = open_filesystem(file)
    return path if isinstance(filesystem, pafs.LocalFileSystem) else None


@contextmanager
def _token(output: Folder) -> Iterator[list[str]]:
    """A file with a unique name in the output for the duration of the block; none on an object store."""
    if not output.is_local:
        yield []
        return
    folder = Path(output.path)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".shared-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield [str(token)]
    finally:
        token.unlink()
        for path in created:
            path.rmdir()
