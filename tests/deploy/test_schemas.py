"""The cluster files against the schemas of those who read them; unknown fields are errors."""

import json
import os
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from manifests import DEPLOY, OVERLAYS, SERVICES, WORKFLOW, ray_object

KUBERAY = Path(__file__).parent / "schemas" / "kuberay.yaml"
KINDS = {"RayJob": "rayjobs", "RayCluster": "rayclusters", "RayService": "rayservices"}
Schema = dict[str, Any]


class Schemas:
    """KubeRay's fields, as written in schemas/kuberay.yaml, and Kubernetes' own schemas, both closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kuberay = DRAFT202012.create_resource(yaml.safe_load(KUBERAY.read_text()))
        definitions = DRAFT202012.create_resource(json.loads((folder / "_definitions.json").read_text()))
        self.registry = Registry().with_resources([("kuberay", kuberay), ("/api/_definitions.json", definitions)])

    def validate(self, found: dict[str, Any]) -> None:
        """Raise jsonschema.ValidationError if an object has a field that its API does not know, or a wrong one."""
        group, _, version = found["apiVersion"].rpartition("/")
        if group == "ray.io":
            schema = {"$ref": f"kuberay#/$defs/{found['kind']}"}
        else:
            name = "-".join(filter(None, [found["kind"].lower(), group.split(".")[0], version]))
            schema = json.loads((self.folder / f"{name}.json").read_text())
        jsonschema.Draft202012Validator(schema, registry=self.registry).validate(found)


@pytest.fixture(scope="module")
def schemas(tools: Path) -> Schemas:
    (folder,) = tools.glob("lib/*/site-packages/kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict")
    return Schemas(folder)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_fit_their_schemas(overlay: str, built: dict[str, list[dict[str, Any]]], schemas: Schemas) -> None:
    for found in built[overlay]:
        schemas.validate(found)


def fields(found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all fields in an object whose names belong to a schema."""
    if isinstance(found, list):
        for index, item in enumerate(found):
            yield from fields(item, (*path, index))
    elif isinstance(found, dict):
        for name, value in found.items():
            # Labels, limits and the like: any name is right.
            if path and path[-1] in {"labels", "limits", "rayStartParams", "nodeSelector", "matchLabels"}:
                continue
            yield (*path, name)
            yield from fields(value, (*path, name))


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay.endswith("gpu")])
def test_any_misspelt_field_is_refused(overlay: str, built: dict[str, list[dict[str, Any]]], schemas: Schemas) -> None:
    tried = 0
    for found in built[overlay]:
        for *parents, name in fields(found):
            changed = deepcopy(found)
            inner = changed
            for step in parents:
                inner = inner[step]
            inner[f"{name}s"] = inner.pop(name)
            if name in {"apiVersion", "kind"} and not parents:
                continue  # without them there is no schema to choose
            with pytest.raises(jsonschema.ValidationError):
                schemas.validate(changed)
            tried += 1
    assert tried > 60


def own_schemas(folder: Path) -> dict[str, Schema]:
    """KubeRay's custom resource definitions, closed: what an API server prunes, or refuses if asked, is an error."""

    def closed(schema: Any) -> Any:
        if isinstance(schema, list):
            return [closed(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        here = {name: closed(value) for name, value in schema.items() if name not in {"format", "default"}}
        if "properties" in schema and "additionalProperties" not in schema:
            here["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields", False))
        if schema.get("x-kubernetes-int-or-string"):
            here.pop("type", None)
        return here

    def read(plural: str) -> Schema:
        definition = yaml.load((folder / f"ray.io_{plural}.yaml").read_text(), yaml.CSafeLoader)
        (version,) = (entry for entry in definition["spec"]["versions"] if entry["name"] == "v1")
        schema: Schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {}
        return schema

    return {kind: read(plural) for kind, plural in KINDS.items()}


def test_kuberays_own_definitions_agree(built: dict[str, list[dict[str, Any]]]) -> None:
    if "KUBERAY_CRDS" not in os.environ:
        pytest.skip("KUBERAY_CRDS does not name a folder of KubeRay's custom resource definitions")
    own = own_schemas(Path(os.environ["KUBERAY_CRDS"]))
    for objects in built.values():
        found = ray_object(objects)
        jsonschema.Draft202012Validator(own[found["kind"]]).validate(found)
    ours = yaml.safe_load(KUBERAY.read_text())["$defs"]
    for name, kind in [("jobSpec", "RayJob"), ("serviceSpec", "RayService"), ("clusterSpec", "RayCluster")]:
        assert_is_part(ours[name], own[kind]["properties"]["spec"], ours)


def assert_is_part(ours: Schema, own: Schema, definitions: dict[str, Schema]) -> None:
    """Assert that every field of our schema is in KubeRay's, with the same type."""
    if "$ref" in ours:
        if not ours["$ref"].startswith("#"):
            return  # Kubernetes'
        return assert_is_part(definitions[ours["$ref"].rpartition("/")[2]], own, definitions)
    if "type" in ours:
        assert ours["type"] == own["type"]
    if "enum" in ours and "enum" in own:
        assert set(ours["enum"]) <= set(own["enum"])
    for name, schema in ours.get("properties", {}).items():
        assert name in own["properties"], name
        assert_is_part(schema, own["properties"][name], definitions)
    if "items" in ours:
        assert_is_part(ours["items"], own["items"], definitions)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when its schemas are imported
@pytest.mark.parametrize("overlay", SERVICES)
def test_the_application_fits_the_schema_of_serve(overlay: str, built: dict[str, list[dict[str, Any]]]) -> None:
    pytest.importorskip("fastapi")  # of the extra `serve`
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    from deploy import serve

    config = yaml.safe_load(ray_object(built[overlay])["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema.model_validate(config).applications
    module, _, name = application.import_path.partition(":")
    assert getattr(serve, name) is serve.application
    assert module == "deploy.serve"
    serve.Settings.read({**application.args, "bundle": "s3://example-bucket/first/bundle"})
    (deployment,) = application.deployments
    assert deployment.name == serve.Scores.name
    assert deployment.autoscaling_config.keys() <= AutoscalingConfig.model_fields.keys()
    AutoscalingConfig.model_validate(deployment.autoscaling_config)


def test_the_file_of_ray_up() -> None:
    cluster = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
    prepared = prepare_config(cluster)
    validate_config(prepared)
    kinds = prepared["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0}, "the head does no work"
    assert [kind["min_workers"] for kind in kinds.values()] == [0, 0, 0], "it grows from nothing"
    assert max(kind["max_workers"] for kind in kinds.values()) == cluster["max_workers"]
    for misspelt in ("idle_timeout_minute", "max_worker"):
        with pytest.raises(jsonschema.ValidationError):
            validate_config({**prepared, misspelt: 5})


def test_the_workflow_fits_its_schema(tools: Path, tmp_path: Path) -> None:
    def check(file: Path) -> subprocess.CompletedProcess[str]:
        command = [tools / "bin/check-jsonschema", "--builtin-schema", "vendor.github-workflows", file]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = check(WORKFLOW)
    assert done.returncode == 0, done.stdout
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(WORKFLOW.read_text().replace("timeout-minutes", "timeout-minute"))
    assert check(misspelt).returncode == 1
