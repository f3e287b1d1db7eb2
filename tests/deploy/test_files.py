"""The files in deploy/: properties of every RayJob, and commands that are valid in this version."""

import dataclasses
import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import commands
from jobs.bulk.cluster import Cluster
from jobs.bulk.options import BulkOptions
from jobs.bulk.placement import CPU_SHARE, place_on_cluster
from jobs.train import recipes
from jobs.train.job import place
from jobs.train.options import TrainOptions

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "kuberay").glob("*.yaml"))
GPU = "nvidia.com/gpu"
README = ROOT / "deploy" / "README.md"

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    """The spec of the one RayJob in `file`."""
    (job,) = yaml.safe_load_all(file.read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"]["name"] == f"vae-{file.stem}"
    spec: dict[str, Any] = job["spec"]
    return spec


def pods(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod specs of a RayJob: submitter, head and workers."""
    cluster = spec["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    return {
        "submitter": spec["submitterPodTemplate"]["spec"],
        "head": cluster["headGroupSpec"]["template"]["spec"],
        "workers": workers["template"]["spec"],
    }


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def parse(entrypoint: str) -> tuple[str, Any]:
    """The job's name and options, read from an entrypoint by the job's own parser."""
    # From a checkout shipped with the job, or installed in the image.
    match = re.fullmatch(r"(?:python -m jobs\.|vae )(\w+) (.*)", entrypoint)
    assert match, entrypoint
    name, arguments = match[1], shlex.split(match[2])
    try:
        return name, commands.parse(name, arguments)
    except SystemExit as error:
        raise AssertionError(f"vae {name} does not take {arguments}") from error


def test_every_step_has_its_files() -> None:
    # Export computes on the CPU, whatever the model was trained on.
    both = {f"{job}-{device}" for job in ("train", "score", "sample") for device in ("cpu", "gpu")}
    assert {file.stem for file in FILES} == both | {"export"}


@every_file
def test_entrypoint_is_a_command_of_this_version(file: Path) -> None:
    name, options = parse(read(file)["entrypoint"])
    assert file.stem.startswith(name)
    values = dataclasses.asdict(options)
    for field in ("images", "run", "bundle", "output"):
        for url in [values[field]] if isinstance(values.get(field), str) else values.get(field, ()):
            assert url.startswith("s3://"), "pods share no disk"
    if recipe := values.get("recipe"):
        assert recipe in recipes.names()


def test_a_misspelt_option_is_noticed() -> None:
    entrypoint = read(FILES[0])["entrypoint"]
    with pytest.raises(AssertionError):
        parse(entrypoint.replace("--run", "--rum").replace("--bundle", "--bundel"))


@every_file
def test_the_pods_fit_the_workers(file: Path) -> None:
    spec = read(file)
    name, options = parse(spec["entrypoint"])
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = container(pods(spec)["workers"])["resources"]["limits"]
    cpus, gpus = int(limits["cpu"]), int(limits.get(GPU, 0))
    assert (gpus > 0) == file.stem.endswith("-gpu")
    if name == "export":
        assert spec["entrypointNumCpus"] == cpus
        return
    assert "entrypointNumCpus" not in spec, "the driver waits: it reserves nothing"
    at_start = Cluster(cpus * group["replicas"], gpus * group["replicas"], is_shared=True)
    needs = train_needs(options, at_start) if name == "train" else bulk_needs(options, at_start)
    assert (needs.gpu > 0) == (gpus > 0), "a pod's GPU is used"
    # Ray keeps shares of a GPU to four digits.
    on_a_pod = min(int(cpus / needs.cpu), int(gpus / round(needs.gpu, 4) + 1e-3) if gpus else cpus)
    assert needs.workers == on_a_pod * group["maxReplicas"], "all pods are asked for, and are full"
    if name == "train":
        assert group["replicas"] == group["maxReplicas"], "all workers start together"
        # Each worker's images, and about a gibibyte for torch, fit in the pod.
        assert on_a_pod * (options.cache_gigabytes + 1) < int(limits["memory"].removesuffix("Gi"))
    else:
        assert needs.workers > on_a_pod * group["replicas"], "those at the start do not hold all workers: it grows"


class Needs(NamedTuple):
    """What a job requests from Ray: the number of workers, and the share of a CPU and of a GPU for each."""

    workers: int
    cpu: float
    gpu: float


def bulk_needs(options: BulkOptions, cluster: Cluster) -> Needs:
    placed = place_on_cluster(options, cluster, units=10**6)
    grown = place_on_cluster(options, Cluster(8 * cluster.cpus, 8 * cluster.gpus, cluster.is_shared), units=10**6)
    assert placed == grown, "what a job asks for does not depend on the pods that are there when it starts"
    return Needs(placed.workers, CPU_SHARE, placed.gpu_share)


def train_needs(options: TrainOptions[Any], cluster: Cluster) -> Needs:
    decided = place(dataclasses.replace(options, train=recipes.load(options.recipe).train), cluster)
    assert decided.workers
    assert decided.cpus_per_worker
    return Needs(decided.workers, decided.cpus_per_worker, float(decided.device == "cuda"))


@every_file
def test_replicas(file: Path) -> None:
    cluster = read(file)["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert 1 <= group["minReplicas"] == group["replicas"] <= group["maxReplicas"], "a job looks for GPUs as it starts"
    elastic = file.stem.startswith(("score", "sample"))
    assert cluster.get("enableInTreeAutoscaling", False) == elastic
    if elastic:
        # The operator adds this container to the head.
        assert cluster["autoscalerOptions"]["securityContext"] == container(pods(read(file))["head"])["securityContext"]
    else:
        assert group["minReplicas"] == group["maxReplicas"]


@every_file
def test_the_ray_version_is_that_of_the_lock(file: Path) -> None:
    (locked,) = re.findall(r"^ray==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert read(file)["rayClusterSpec"]["rayVersion"] == locked


@every_file
def test_image(file: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    needs_torch = file.stem.startswith(("train", "export"))
    name = "vae-core-train" if needs_torch else "vae-core-score" + ("-gpu" if file.stem.endswith("-gpu") else "")
    image = f"{name}:{version}"
    assert {container(pod)["image"] for pod in pods(read(file)).values()} == {image}
    recipe = ROOT / "deploy" / f"Containerfile.{'train' if needs_torch else 'score'}"
    assert f"--tag {image} " in recipe.read_text(), "the build command makes the image that the file names"


@every_file
def test_pods_are_restricted(file: Path) -> None:
    for pod in pods(read(file)).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 1000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


@every_file
def test_head_does_no_work(file: Path) -> None:
    head = read(file)["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert GPU not in container(head["template"]["spec"])["resources"]["limits"]


@every_file
def test_cluster_asks_for_a_token(file: Path) -> None:
    # Without one, anyone who reaches the cluster can run code on it.
    assert read(file)["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@every_file
def test_resources_and_shared_memory(file: Path) -> None:
    for role, pod in pods(read(file)).items():
        resources = container(pod)["resources"]
        if role == "submitter":
            continue
        assert resources["requests"] == resources["limits"], "Ray takes the limits for what it has"
        (mount,) = container(pod)["volumeMounts"]
        (volume,) = pod["volumes"]
        assert mount == {"name": volume["name"], "mountPath": "/dev/shm"}
        assert volume["emptyDir"]["medium"] == "Memory"
        shared, memory = (
            int(size.removesuffix("Gi")) for size in (volume["emptyDir"]["sizeLimit"], resources["limits"]["memory"])
        )
        assert 0.3 * memory <= shared < memory, "Ray's object store takes 30% of memory"
        assert container(pod)["envFrom"] == [{"secretRef": {"name": "vae-storage", "optional": True}}]


@every_file
def test_job_retries_and_cleans_up(file: Path) -> None:
    spec = read(file)
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["backoffLimit"] >= 1
    assert spec["submitterConfig"]["backoffLimit"] >= 1
    assert pods(spec)["submitter"]["restartPolicy"] == "Never"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("job", ["train", "score"])
def test_containerfile(job: str) -> None:
    text = (ROOT / "deploy" / f"Containerfile.{job}").read_text()
    assert re.search(r"^FROM python:3\.11-slim-\w+$", text, re.MULTILINE), "a pinned tag"
    assert "--constraint requirements.lock" in text
    user = text.index("\nUSER 1000:1000\n")
    assert user > text.rindex("\nRUN "), "everything after the last installation runs as the user"
    assert text.index("COPY pyproject.toml") < text.index("uv pip install") < text.index("COPY vae_core")
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"!{name}\n" in (ROOT / ".dockerignore").read_text()


def test_only_the_training_image_has_torch() -> None:
    def image(name: str) -> str:
        return (ROOT / "deploy" / f"Containerfile.{name}").read_text()

    assert "--extra train --extra gpu --extra cluster" in image("train")
    assert "--extra train" not in image("score")
    score = re.findall(r'EXTRAS="([\w ]+)"', image("score"))
    assert sorted(set(score)) == ["cluster cpu", "cluster gpu"]
    assert "torch" in installed_with({"train", "gpu", "cluster"})
    for extras in score:
        needed = installed_with(set(extras.split()))
        assert {"ray", "onnx", "opencv-python-headless"} <= needed
        assert not {"torch", "torchvision", "safetensors"} & needed
        assert len({"onnxruntime", "onnxruntime-gpu"} & needed) == 1


def installed_with(extras: set[str]) -> set[str]:
    """The distributions that installing this project with `extras` brings: its requirements, theirs, and so on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [Requirement(line) for line in project["dependencies"]]
    todo += [Requirement(line) for extra in extras for line in project["optional-dependencies"][extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        here = requirement.marker is None or requirement.marker.evaluate()
        if not here or (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # CUDA libraries, which are not needed
        for line in lines:
            child = Requirement(line)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                child.marker = None
                todo.append(child)
    return {name for name, _ in seen}


@pytest.mark.parametrize("command", re.findall(r"^ray job submit .*$", README.read_text(), re.MULTILINE))
def test_commands_of_the_readme(command: str) -> None:
    submit, entrypoint = command.split(" -- ")
    assert "--working-dir ." in submit
    parse(entrypoint)


def test_deploy_names_no_registry() -> None:
    for file in (ROOT / "deploy").rglob("*"):
        if file.is_file():
            assert not re.search(
                r"\b(?:docker|ghcr|quay|gcr|nvcr)\.(?:io|com)\b|\.amazonaws\.com|\.azurecr\.", file.read_text()
            )
