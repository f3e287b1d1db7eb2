"""The files in deploy/: properties of every manifest, and commands that are valid in this version."""

import dataclasses
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import commands
from containerfile import CONTAINERFILE, instructions
from jobs.bulk.cluster import Cluster
from jobs.bulk.options import BulkOptions
from jobs.bulk.placement import CPU_SHARE, place_on_cluster
from jobs.train import recipes
from jobs.train.job import place
from jobs.train.options import TrainOptions
from manifests import (
    GPU,
    JOBS,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    SERVICES,
    WORKFLOW,
    cluster,
    container,
    group,
    pods,
    ray_object,
)
from vae_core.errors import UserError

README = ROOT / "deploy" / "README.md"
Objects = list[dict[str, Any]]

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
every_job = pytest.mark.parametrize("overlay", JOBS)


@pytest.fixture
def objects(overlay: str, built: dict[str, Objects]) -> Objects:
    """The objects of the overlay that a test is about."""
    return built[overlay]


def parse(entrypoint: str) -> tuple[str, Any]:
    """The job's name and options, read from an entrypoint by the job's own parser."""
    # From a checkout shipped with the job, or installed in the image.
    match = re.fullmatch(r"(?:python -m jobs\.|vae )(\w+) (.*)", entrypoint)
    assert match, entrypoint
    name, arguments = match[1], shlex.split(match[2])
    try:
        return name, commands.parse(name, arguments)
    except UserError as error:
        raise AssertionError(f"vae {name} does not take {arguments}") from error


def entrypoint_in_pod(objects: Objects) -> str:
    """The entrypoint as the shell of the pod that runs it expands it."""
    variables: dict[str, str] = {}
    for variable in container(pods(objects)["head"])["env"]:  # $(NAME) refers to those before it
        variables[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], variable["value"])
    return Template(ray_object(objects)["spec"]["entrypoint"]).substitute(variables)


def test_every_step_has_its_overlays() -> None:
    # Export computes on the CPU, whatever the model was trained on.
    both = {f"{job}-{device}" for job in ("train", "score", "sample", "serve") for device in ("cpu", "gpu")}
    assert set(OVERLAYS) == both | {"export"}


@every_overlay
def test_names(overlay: str, objects: Objects) -> None:
    assert ray_object(objects)["kind"] == ("RayJob" if overlay in JOBS else "RayService")
    name = ray_object(objects)["metadata"]["name"]
    assert name == ("vae-serve" if overlay in SERVICES else f"vae-{overlay}")
    assert {found["metadata"]["namespace"] for found in objects} == {"vae"}, "named once, in settings"
    kinds = [found["kind"] for found in objects]
    assert kinds == (["RayJob"] if overlay in JOBS else ["PodDisruptionBudget", "RayService"]), "all that is applied"


@every_job
def test_entrypoint_is_a_command_of_this_version(overlay: str, objects: Objects) -> None:
    name, options = parse(entrypoint_in_pod(objects))
    assert overlay.startswith(name)
    values = dataclasses.asdict(options)
    for field in ("images", "run", "bundle", "output"):
        for url in [values[field]] if isinstance(values.get(field), str) else values.get(field) or ():
            assert url.startswith("s3://example-bucket/first/"), "pods share no disk; the bucket is named once"
    if recipe := values.get("recipe"):
        assert recipe in recipes.names()


def test_a_misspelt_option_is_noticed(built: dict[str, Objects]) -> None:
    entrypoint = entrypoint_in_pod(built["export"])
    with pytest.raises(AssertionError):
        parse(entrypoint.replace("--run", "--rum").replace("--bundle", "--bundel"))


def test_settings_change_everything(tools: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    settings = copied / "settings" / "kustomization.yaml"
    text = settings.read_text()
    for old, new in [("namespace: vae", "namespace: other"), ("s3://example-bucket/first", "gs://elsewhere")]:
        assert old in text
        text = text.replace(old, new)
    settings.write_text(re.sub(r"newName: (\S+), newTag: \S+}", r"newName: mirror/\1, newTag: 9.0.0}", text))
    for overlay in OVERLAYS:
        command = [tools / "bin/kubectl", "kustomize", copied / "overlays" / overlay]
        objects = list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout))
        assert {found["metadata"]["namespace"] for found in objects} == {"other"}
        for pod in pods(objects).values():
            assert re.fullmatch(r"mirror/vae-core-\w+(-gpu)?:9.0.0", container(pod)["image"])
            assert container(pod)["env"][0] == {"name": "VAE_STORAGE", "value": "gs://elsewhere"}
        assert "example-bucket" not in str(objects)


@every_job
def test_the_pods_fit_the_workers(overlay: str, objects: Objects) -> None:
    spec = ray_object(objects)["spec"]
    name, options = parse(entrypoint_in_pod(objects))
    workers = group(objects)
    limits = container(pods(objects)["workers"])["resources"]["limits"]
    cpus, gpus = int(limits["cpu"]), int(limits.get(GPU, 0))
    assert (gpus > 0) == overlay.endswith("-gpu")
    if name == "export":
        assert spec["entrypointNumCpus"] == cpus
        return
    assert "entrypointNumCpus" not in spec, "the driver waits: it reserves nothing"
    at_start = Cluster(cpus * workers["replicas"], gpus * workers["replicas"], is_shared=True)
    needs = train_needs(options, at_start) if name == "train" else bulk_needs(options, at_start)
    assert (needs.gpu > 0) == (gpus > 0), "a pod's GPU is used"
    # Ray keeps shares of a GPU to four digits.
    on_a_pod = min(int(cpus / needs.cpu), int(gpus / round(needs.gpu, 4) + 1e-3) if gpus else cpus)
    assert needs.workers == on_a_pod * workers["maxReplicas"], "all pods are asked for, and are full"
    if name == "train":
        assert workers["replicas"] == workers["maxReplicas"], "all workers start together"
        # Each worker's images, and about a gibibyte for torch, fit in the pod.
        assert on_a_pod * (options.cache_gigabytes + 1) < int(limits["memory"].removesuffix("Gi"))
    else:
        assert needs.workers > on_a_pod * workers["replicas"], "those at the start do not hold all workers: it grows"


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


@every_overlay
def test_replicas(overlay: str, objects: Objects) -> None:
    workers = group(objects)
    assert 1 <= workers["minReplicas"] == workers["replicas"] <= workers["maxReplicas"], "a job looks for GPUs at once"
    elastic = overlay.startswith(("score", "sample", "serve"))
    assert cluster(objects).get("enableInTreeAutoscaling", False) == elastic
    head = pods(objects)["head"]
    assert head["automountServiceAccountToken"] == elastic, "the autoscaler asks the Kubernetes API"
    if elastic:
        # The operator adds this container to the head.
        assert cluster(objects)["autoscalerOptions"]["securityContext"] == container(head)["securityContext"]
    else:
        assert workers["minReplicas"] == workers["maxReplicas"]


@every_overlay
def test_the_ray_version_is_that_of_the_lock(overlay: str, objects: Objects) -> None:
    (locked,) = re.findall(r"^ray==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert cluster(objects)["rayVersion"] == locked


@every_overlay
def test_image(overlay: str, objects: Objects) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = "train" if overlay.startswith(("train", "export")) else "score"
    if image == "score" and overlay.endswith("-gpu"):
        image += "-gpu"  # the one for training has CUDA anyway
    name = f"vae-core-{image}:{version}"
    assert {container(pod)["image"] for pod in pods(objects).values()} == {name}
    assert name in builds()


@every_overlay
def test_pods_are_restricted(overlay: str, objects: Objects) -> None:
    for pod in pods(objects).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 1000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pods(objects)["workers"]["automountServiceAccountToken"] is False


@every_overlay
def test_head_does_no_work(overlay: str, objects: Objects) -> None:
    assert cluster(objects)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert GPU not in container(pods(objects)["head"])["resources"]["limits"]


@every_overlay
def test_cluster_asks_for_a_token(overlay: str, objects: Objects) -> None:
    # Without one, anyone who reaches the cluster can run code on it.
    assert cluster(objects)["authOptions"] == {"mode": "token"}


@every_overlay
def test_resources(overlay: str, objects: Objects) -> None:
    for pod in pods(objects).values():
        resources = container(pod)["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["limits"].keys()
        assert "requests" not in resources, "then they equal the limits, and Ray takes the limits for what it has"
        assert "volumes" not in pod, "the operator adds /dev/shm, as large as the memory limit"
        assert container(pod)["envFrom"] == [{"secretRef": {"name": "vae-storage", "optional": True}}]


@every_overlay
def test_gpu_pods_select_their_nodes(overlay: str, objects: Objects) -> None:
    for role, pod in pods(objects).items():
        on_gpu = role == "workers" and overlay.endswith("-gpu")
        assert (GPU in container(pod)["resources"]["limits"]) == on_gpu
        assert ("nodeSelector" in pod) == on_gpu
        assert ({"key": GPU, "operator": "Exists", "effect": "NoSchedule"} in pod.get("tolerations", [])) == on_gpu


@every_job
def test_job_retries_and_cleans_up(overlay: str, objects: Objects) -> None:
    spec = ray_object(objects)["spec"]
    assert spec["submissionMode"] == "HTTPMode"
    assert not {"submitterPodTemplate", "submitterConfig"} & spec.keys(), "there is no submitter pod"
    assert spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]


def builds() -> dict[str, set[str]]:
    """The images that the head of the Containerfile says how to build, and the extras in each."""
    commands = re.findall(
        r'^#   docker build .*--build-arg EXTRAS="(.+)" --tag (\S+) \.$', CONTAINERFILE.read_text(), re.M
    )
    return {image: set(extras.split()) for extras, image in commands}


def test_containerfile() -> None:
    build, image = instructions(0), instructions(1)
    assert {name for name, _ in image} == {"FROM", "COPY", "RUN", "USER", "WORKDIR", "ENV", "CMD"}
    assert build[0] == ("FROM", "python:3.11-slim-bookworm AS build")
    assert image[0] == ("FROM", "python:3.11-slim-bookworm"), "the Python that the environment was made with"
    user = image.index(("USER", "1000:1000"))
    assert "RUN" not in [name for name, _ in image[user:]], "everything after the last installation runs as the user"
    installs = [index for index, (_, arguments) in enumerate(build) if "uv pip install" in arguments]
    assert "--constraint requirements.lock" in build[installs[0]][1]
    sources = [index for index, step in enumerate(build) if step == ("COPY", "jobs jobs")]
    assert installs[0] < sources[0] < installs[1], "a changed source installs no dependency again"
    (default,) = (arguments for name, arguments in build if name == "ARG")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(default.removeprefix("EXTRAS=").strip('"').split()) == builds()[f"vae-core-score:{version}"]
    for name, arguments in build + image:
        if name == "COPY" and not arguments.startswith("--from=build "):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}\n" in (ROOT / ".dockerignore").read_text()


def test_only_the_training_image_has_torch() -> None:
    assert len(builds()) == 3
    for image, extras in builds().items():
        needed = installed_with(extras)
        assert {"ray", "onnx", "opencv-python-headless"} <= needed
        assert len({"onnxruntime", "onnxruntime-gpu"} & needed) == 1
        assert ("torch" in needed) == ("safetensors" in needed) == image.startswith("vae-core-train:")


def test_the_workflow_runs_the_tests_and_builds_the_images() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    test, image = jobs["test"], jobs["image"]
    assert ".ci/run" in [step.get("run") for step in test["steps"]]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert min(test["strategy"]["matrix"]["python"], key=lambda text: tuple(map(int, text.split(".")))) == oldest
    built = {entry["image"]: set(entry["extras"].split()) for entry in image["strategy"]["matrix"]["include"]}
    assert built == {name.rpartition(":")[0]: extras for name, extras in builds().items()}


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


@pytest.mark.parametrize("overlay", SERVICES)
def test_replicas_of_the_service_fit_the_pods(overlay: str, objects: Objects) -> None:
    (application,) = yaml.safe_load(ray_object(objects)["spec"]["serveConfigV2"])["applications"]
    (deployment,) = application["deployments"]
    limits = container(pods(objects)["workers"])["resources"]["limits"]
    on_a_pod = int(limits.get(GPU, limits["cpu"]))  # deploy/serve.py: a CPU for each replica, and a GPU if it uses one
    scaling = deployment["autoscaling_config"]
    assert scaling["max_replicas"] == on_a_pod * group(objects)["maxReplicas"], "all pods are asked for, and are full"
    assert scaling["min_replicas"] >= group(objects)["minReplicas"] >= 2, "one may die"
    assert application["args"]["provider"] == ("cuda" if GPU in limits else "cpu")


@pytest.mark.parametrize("overlay", SERVICES)
def test_the_service_bears_the_loss_of_a_node(overlay: str, objects: Objects) -> None:
    (budget,) = (found["spec"] for found in objects if found["kind"] == "PodDisruptionBudget")
    assert 1 <= budget["minAvailable"] < group(objects)["minReplicas"]
    chosen = budget["selector"]["matchLabels"].items()
    assert chosen <= group(objects)["template"]["metadata"]["labels"].items()
    assert not chosen <= cluster(objects)["headGroupSpec"]["template"]["metadata"]["labels"].items()
    assert ray_object(objects)["spec"]["excludeHeadPodFromServeSvc"] is True
    # The operator's own probe runs wget, which the image does not have.
    probe = container(pods(objects)["workers"])["readinessProbe"]["httpGet"]
    assert {"name": probe["port"], "containerPort": 8000} in container(pods(objects)["workers"])["ports"]


@pytest.mark.parametrize("command", re.findall(r"^RAY_AUTH_MODE=token ray job submit .*$", README.read_text(), re.M))
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
