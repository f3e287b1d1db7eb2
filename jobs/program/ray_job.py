"""Which Ray job this process belongs to, without importing Ray."""

import json
import os
import sys

# Set by `ray job submit`, and by KubeRay, for the process that it starts: JSON.
_OF_SUBMITTED_JOBS = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def job_id() -> str:
    """Ray's id of the job, in hex: of the driver, and of the workers that it started; empty without a connection."""
    ray = sys.modules.get("ray")
    if ray is None or not hasattr(ray, "is_initialized") or not ray.is_initialized():  # another thread may import it
        return ""
    found: str = ray.get_runtime_context().get_job_id()
    return found


def submission_id() -> str:
    """The id that `ray job submit` printed, if it started this process; else empty."""
    try:
        found = json.loads(os.environ.get(_OF_SUBMITTED_JOBS, ""))["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(found)
