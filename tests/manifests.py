"""What the tests of deploy/ read of a manifest: its cluster, and the pods of that."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yaml"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
JOBS = [overlay for overlay in OVERLAYS if not overlay.startswith("serve")]
SERVICES = [overlay for overlay in OVERLAYS if overlay.startswith("serve")]
GPU = "nvidia.com/gpu"


def ray_object(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The RayJob or RayService among the objects of an overlay."""
    (found,) = (found for found in objects if found["apiVersion"] == "ray.io/v1")
    return found


def cluster(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The cluster that a RayJob or RayService starts."""
    spec = ray_object(objects)["spec"]
    (name,) = spec.keys() & {"rayClusterSpec", "rayClusterConfig"}
    found: dict[str, Any] = spec[name]
    return found


def group(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The one group of workers."""
    (found,) = cluster(objects)["workerGroupSpecs"]
    assert isinstance(found, dict)
    return found


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod specs of the head and of the workers."""
    return {
        "head": cluster(objects)["headGroupSpec"]["template"]["spec"],
        "workers": group(objects)["template"]["spec"],
    }


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The one container of a pod."""
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only
