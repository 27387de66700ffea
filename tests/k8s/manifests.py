"""The files of k8s/, read as they are: kustomize adds namespace, labels and versions, and is tried in a slow test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
K8S = REPOSITORY / "k8s"
WHOLE = (K8S, K8S / "cpu", K8S / "helm-dagster")
"""The folders that a person applies."""


def load(file: Path) -> Any:
    """The only document of a file."""
    return yaml.safe_load(file.read_text())


def objects() -> list[dict[str, Any]]:
    """All objects that kustomizations name."""
    found: list[dict[str, Any]] = []
    for folder in sorted({file.parent for file in K8S.rglob("kustomization.yaml")}):
        for name in load(folder / "kustomization.yaml").get("resources", []):
            if (folder / name).is_file():
                found += [each for each in yaml.safe_load_all((folder / name).read_text()) if each]
    return found


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects() if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """The pod templates of the Deployments, by name, with the label that `common` adds."""
    found = {}
    for name, each in of_kind("Deployment").items():
        template = each["spec"]["template"]
        [label] = load(K8S / "common/kustomization.yaml")["labels"]
        assert label["includeTemplates"]
        template["metadata"]["labels"] |= label["pairs"]
        found[name] = template
    return found


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each container of each Deployment, those that prepare among them."""
    for name, template in pods().items():
        spec = template["spec"]
        for each in (*spec.get("initContainers", []), *spec["containers"]):
            yield f"{name}/{each['name']}", each


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector matches a pod."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
