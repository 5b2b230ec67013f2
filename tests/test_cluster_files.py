"""What starts clusters: by Ray's own schema and validator, by KubeRay's definition, and of one version."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from atlas.shipped import CLUSTERS
from atlas.version import VERSION

pytestmark = pytest.mark.builder

ROOT = Path(__file__).parents[1]
LAUNCHED = ["aws.yaml", "own.yaml"]
CRD = "ATLAS_KUBERAY_CRD"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def told(name: str) -> str:
    return (CLUSTERS.folder() / name).read_text()


def loaded(name: str) -> Any:
    return yaml.safe_load(told(name))


# -- ray up ------------------------------------------------------------------------------------------------------------


def refuse_launch(config: Any) -> None:
    """Raise where Ray's validator, offline, finds fault with a file of `ray up`."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_a_file_of_ray_up_and_no_typo(name: str) -> None:
    config = loaded(name)
    refuse_launch(config)
    with pytest.raises(Exception, match="idle_timeout_minute"):
        refuse_launch({**config, "idle_timeout_minute": 1})


def test_aws_scales_spot_gpus_from_zero_beside_a_head_that_computes_nothing() -> None:
    config = loaded("aws.yaml")
    types = config["available_node_types"]
    head, gpu = types[config["head_node_type"]], types["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert (gpu["min_workers"], gpu["resources"]["GPU"]) == (0, 1)
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]
    for broken in ({"min_worker": 0}, {"resources": {"GPU": "1"}}):
        with pytest.raises(Exception, match=r"min_worker|'1'"):
            refuse_launch(config | {"available_node_types": types | {"gpu": gpu | broken}})


def test_the_image_can_stand_in_for_the_commands() -> None:
    (docker,) = re.findall(r"#   docker: (\{.*\})", told("aws.yaml"))
    config = loaded("aws.yaml") | {"docker": yaml.safe_load(docker), "setup_commands": [], "file_mounts": {}}
    refuse_launch(config)


# -- KubeRay -----------------------------------------------------------------------------------------------------------


@cache
def definition() -> Any:
    """What KubeRay's server knows of a RayJob, told to refuse what it would drop without a word."""
    place = os.environ.get(CRD)
    if not place:
        pytest.skip(f"{CRD} names no file: KubeRay's ray.io_rayjobs.yaml, of 1.4 MB, is not in the project")
    with Path(place).open() as file:
        versions = yaml.load(file, yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1")
    return Draft7Validator(strict(schema))


def strict(node: Any) -> Any:
    """A schema of Kubernetes' as JSON Schema: numbers may be texts where it says so, and no key is unknown."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: strict(one) for name, one in node.items()}
    if node.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
        made["type"] = ["integer", "string"]
    open_ended = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if isinstance(node.get("properties"), dict) and node.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    return made


def faults(job: Any) -> Iterator[str]:
    """What the definition finds wrong; `metadata` is Kubernetes' own, of which it says nothing."""
    yield from (error.message for error in definition().iter_errors(job | {"metadata": {}}))


def test_kuberay_accepts_the_job() -> None:
    job = loaded("kuberay.yaml")
    assert list(faults(job)) == []
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")


def at(job: Any, *names: Any) -> Any:
    for name in names:
        job = job[name]
    return job


HEAD = ("rayClusterSpec", "headGroupSpec")
WORKER = ("rayClusterSpec", "workerGroupSpecs", 0)
POD = (*WORKER, "template", "spec")
TYPOS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda spec: spec.update(shutdownAfterJobFinish=True), "shutdownAfterJobFinish"),
    (lambda spec: spec.update(backoffLimit="3"), "'3' is not of type"),
    (lambda spec: at(spec, *HEAD).update(rayStartParams={"num-cpus": 0}), "0 is not of type"),
    (lambda spec: at(spec, *WORKER).update(minReplica=0), "minReplica"),
    (lambda spec: at(spec, *POD).update(terminationGracePeriodSecond=1), "terminationGracePeriodSecond"),
    (lambda spec: at(spec, *POD, "containers", 0).update(resource={}), "'resource'"),
    (lambda spec: at(spec, "rayClusterSpec", "authOptions").update(mode="tokn"), "tokn"),
]


@pytest.mark.parametrize(("plant", "named"), TYPOS, ids=[named for _, named in TYPOS])
def test_a_typo_that_a_server_would_drop_is_found(plant: Callable[[Any], Any], named: str) -> None:
    job = loaded("kuberay.yaml")
    plant(job["spec"])
    assert any(named in fault for fault in faults(job))


def test_what_is_under_way_may_end_and_the_store_is_gone_on_with() -> None:
    from atlas.engine.run import SECONDS

    spec = loaded("kuberay.yaml")["spec"]
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    pod = group["template"]["spec"]
    (worker,) = pod["containers"]
    env = {one["name"]: one["value"] for one in worker["env"]}
    drain = float(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert SECONDS < drain < pod["terminationGracePeriodSeconds"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert (group["minReplicas"], worker["resources"]["limits"]["nvidia.com/gpu"]) == (0, "1")
    assert spec["backoffLimit"] > 0
    assert cluster["authOptions"] == {"mode": "token"}
    hours = re.search(r"--max-hours (\d+)", spec["entrypoint"])
    assert hours
    assert int(hours[1]) * 3600 < spec["activeDeadlineSeconds"]


# -- one version -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLUSTERS.names())
def test_every_file_is_of_this_version_and_of_what_the_project_asks_for(name: str) -> None:
    text = told(name)
    wheels = set(re.findall(r"atlas_builder-[\w.-]+\.whl", text))
    images = set(re.findall(r"atlas-builder:([\w.]+)", text))
    assert wheels <= {f"{PROJECT['name'].replace('-', '_')}-{VERSION}-py3-none-any.whl"}
    assert images <= {VERSION}
    assert wheels or images
    asked = {one.name: one.specifier for one in map(Requirement, PROJECT["optional-dependencies"]["build"])}
    for package, version in pins(text):
        assert asked[package].contains(version), f"{package}=={version}"
    assert all(extra in PROJECT["optional-dependencies"] for extra in re.findall(r"\.whl\[(\w+)\]", text))


def pins(text: str) -> set[tuple[str, str]]:
    """The packages that a file asks for by version."""
    found = re.findall(r"'?\b(ray|torch|torchvision)(?:\[default\])?==([\d.]+\d)", text)
    of_ray = re.findall(r'(?:rayproject/ray:|rayVersion: ")([\d.]+\d)', text)
    return {*found, *(("ray", version) for version in of_ray)}


def test_all_files_ask_for_the_same_versions() -> None:
    every = set().union(*(pins(told(name)) for name in CLUSTERS.names()))
    assert sorted(package for package, _ in every) == ["ray", "torch", "torchvision"]


def test_what_the_image_is_made_of_is_there() -> None:
    text = told("Dockerfile")
    (tag,) = re.findall(r"FROM rayproject/ray:[\d.]+-py(\d)(\d+)-gpu", text)
    assert SpecifierSet(PROJECT["requires-python"]).contains(".".join(tag))
    (copied,) = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert f"/tmp/{copied}[build]" in text
    ((made, context),) = re.findall(r"wheel --no-deps -w (\S+) \. && docker build -t \S+ (\S+)\n", text)
    assert made == context
    assert (ROOT / context / "Dockerfile").is_file()


def test_they_ship_with_the_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = {target for source, target in wheel["force-include"].items() if (ROOT / source).is_file()}
    assert shipped == {f"atlas/{CLUSTERS.installed}/{name}" for name in CLUSTERS.names()}
    assert CLUSTERS.names() == ["Dockerfile", "aws.yaml", "kuberay.yaml", "own.yaml"]
