"""Where things are, and the chart as Helm renders it."""

import sys
from pathlib import Path

import yaml
from helm_python import Chart

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "countersign"
RELEASE = "shop"
NAMESPACE = "prod"

# The oldest Kubernetes that the chart promises (Chart.yaml), and the newest one whose schemas are at hand.
KUBERNETES = ("1.30", "1.37")


class Problems:
    """What is wrong, told at once and counted."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        print(f"WRONG: {text}", file=sys.stderr)

    def unless(self, holds: object, text: str) -> None:
        if not holds:
            self.add(text)


def values_of(example: str) -> dict:
    return yaml.safe_load((CHART / "examples" / f"{example}.yaml").read_text())


def render_values(values: dict) -> dict[str, list[dict]]:
    """Manifests by the template that they come from."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(values=values, name=RELEASE, namespace=NAMESPACE)
    return {
        name.removeprefix("countersign/templates/"): [it for it in yaml.safe_load_all(text) if it]
        for name, text in rendered.items()
        if name.endswith(".yaml")
    }


def render(example: str, problems: Problems) -> list[dict]:
    """All manifests of an example; each must be one of Kubernetes."""
    found = [it for manifests in render_values(values_of(example)).values() for it in manifests]
    problems.unless(found, f"examples/{example}.yaml renders nothing")
    return found


def of_kind(found: list[dict], kind: str) -> list[dict]:
    return [it for it in found if it["kind"] == kind]


def name_of(manifest: dict) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def merged(left: dict, right: dict) -> dict:
    """Right over left, section by section."""
    result = dict(left)
    for key, value in right.items():
        both = isinstance(value, dict) and isinstance(left.get(key), dict)
        result[key] = merged(left[key], value) if both else value
    return result
