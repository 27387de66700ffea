"""What kustomize renders, and the Jobs that Dagster makes of runs, by the schemas of Kubernetes.

`kubectl`, `kubernetes-validate` and `dagster-k8s` are not among the pinned packages; docs/howto/kubernetes.md says
where they come from. Without them these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import antenna_orchestration
from antenna_orchestration.pools import configuration
from tests.k8s import manifests
from tests.k8s.manifests import K8S

pytestmark = pytest.mark.slow

JOB_OF_RUN = """
import json, sys
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_user_defined_k8s_config
from kubernetes.client import ApiClient
told = json.load(sys.stdin)
job = construct_dagster_k8s_job(
    DagsterK8sJobConfig(job_image=told["image"], dagster_home="/var/lib/antenna/dagster", env_secrets=told["secrets"]),
    args=["dagster", "api", "execute_run"],
    job_name="dagster-run-1",
    user_defined_k8s_config=get_user_defined_k8s_config(told["tags"]),
    component="run_worker",
)
print(json.dumps(ApiClient().sanitize_for_serialization(job)))
"""


def tool(name: str, variable: str) -> str:
    """A program on the path, or named by a variable of the environment."""
    found = os.environ.get(variable) or shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if not found:
        pytest.skip(f"{name} is not on PATH, and {variable} does not name it")
    return found


def rendered(folder: Path) -> list[dict[str, Any]]:
    kubectl = tool("kubectl", "KUBECTL")
    done = subprocess.run([kubectl, "kustomize", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def check(objects: list[dict[str, Any]], folder: Path) -> str:
    """What the strict schemas say; empty if all is well."""
    validate = tool("kubernetes-validate", "KUBERNETES_VALIDATE")
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    done = subprocess.run([validate, "--strict", "--quiet", file], check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "refused"


@pytest.mark.parametrize("folder", manifests.WHOLE, ids=lambda folder: folder.name)
def test_what_is_applied_follows_the_schemas(folder: Path, tmp_path: Path) -> None:
    objects = rendered(folder)
    # KEDA's kinds are not Kubernetes'.
    native = [each for each in objects if "keda.sh" not in each["apiVersion"]]
    assert len(native) > 8
    assert check(native, tmp_path) == ""
    assert {each["metadata"]["namespace"] for each in objects} == {"antenna"}
    for each in native:
        if each["kind"] == "Deployment":
            for one in each["spec"]["template"]["spec"]["containers"]:
                assert one["image"].endswith(f":{antenna_orchestration.__version__}")
    [deployment, *_] = [each for each in native if each["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 90
    assert "terminationGracePeriodSecond" in check(native, tmp_path), "the schema is one that notices"


def test_names_that_are_referred_to_exist() -> None:
    for folder in manifests.WHOLE:
        objects = rendered(folder)
        maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
        for each in objects:
            if each["kind"] != "Deployment":
                continue
            spec = each["spec"]["template"]["spec"]
            used = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
            used |= {source["configMapRef"]["name"] for one in spec["containers"] for source in one.get("envFrom", [])}
            assert used <= maps, folder


def test_a_worker_run_becomes_a_job_on_a_gpu_node(tmp_path: Path) -> None:
    """As K8sRunLauncher makes it of the tags that the sensor gives the run."""
    python = os.environ.get("PYTHON_WITH_DAGSTER_K8S", sys.executable)
    if subprocess.run([python, "-c", "import dagster_k8s"], check=False, capture_output=True).returncode:
        pytest.skip("dagster-k8s is not installed, and PYTHON_WITH_DAGSTER_K8S names no interpreter that has it")
    [pool] = configuration.read(K8S / "helm-dagster/pools.yaml").values()
    assert isinstance(pool, configuration.DagsterPool)
    [location] = [
        each
        for each in manifests.load(K8S / "helm-dagster/values.yaml")["dagster-user-deployments"]["deployments"]
        if each["name"] == pool.location
    ]
    image = f"{location['image']['repository']}:{location['image']['tag']}"
    told = {"tags": pool.tags, "image": image, "secrets": [each["name"] for each in location["envSecrets"]]}
    done = subprocess.run(
        [python, "-c", JOB_OF_RUN], input=json.dumps(told), check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert check([job], tmp_path) == ""
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == image
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1", "memory": "24Gi"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert pod["terminationGracePeriodSeconds"] == 90
    assert {"secretRef": {"name": "antenna-worker"}} in container["envFrom"]
