"""The chart itself: what it refuses, and whether what it makes is right and safe."""

import json
import re

import jsonschema
import kubernetes_validate
from helm_python import HelmError, lint

from common import (
    CHART,
    KUBERNETES,
    ROOT,
    Problems,
    merged,
    name_of,
    of_kind,
    render_values,
    values_of,
)

MEMORY_LIMIT = "256Mi"

LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
TEXT = {"type": "string", "minLength": 1}


def closed(required: list[str], **properties: dict) -> dict:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


# The parts of the Prometheus operator's resources that the chart uses.
OPERATOR = {
    "ServiceMonitor": closed(
        ["selector", "endpoints"],
        namespaceSelector=closed(["matchNames"], matchNames={"type": "array", "items": TEXT}),
        selector=closed(["matchLabels"], matchLabels=LABELS),
        endpoints={
            "type": "array",
            "minItems": 1,
            "items": closed(
                ["port"],
                port=TEXT,
                interval={"pattern": "^[0-9]+(ms|s|m)$"},
                honorLabels={"type": "boolean"},
            ),
        },
    ),
    "PrometheusRule": closed(
        ["groups"],
        groups={
            "type": "array",
            "minItems": 1,
            "items": closed(
                ["name", "rules"],
                name=TEXT,
                rules={
                    "type": "array",
                    "minItems": 1,
                    "items": closed(
                        ["alert", "expr", "labels", "annotations"],
                        alert={"pattern": "^[A-Z][A-Za-z]+$"},
                        expr=TEXT,
                        labels=closed(["severity"], severity={"enum": ["critical", "warning"]}),
                        annotations=closed(["summary", "runbook"], summary=TEXT, runbook=TEXT),
                        **{"for": {"pattern": "^[0-9]+(s|m|h)$"}},
                    ),
                },
            ),
        },
    ),
}


def check_refusals(problems: Problems) -> str:
    """What is missing is named, all of it at once; what nobody knows is refused."""
    refused = 0
    minimal = values_of("minimal")
    cases = [
        ({}, ["image.repository", "config.notification.public_url", "secrets.existingSecret", "callers.tlsSecret"]),
        (merged(minimal, {"secrets": {"existingSecret": ""}}), ["secrets.existingSecret", "database URL", "keys of personal data"]),
        (merged(values_of("trial"), {"secrets": {"create": {"links-key": None}}}), ["links-key"]),
        (merged(minimal, {"secrets": {"keys": {"database.url": None}}}), ["database.url"]),
        (merged(minimal, {"secrets": {"keys": {"personal_data.keys": None}}}), ["personal_data.keys"]),
        (merged(minimal, {"config": {"order": {"comitters": 2}}}), ["comitters"]),
        (merged(minimal, {"replicas": 2}), ["replicas"]),
        (merged(minimal, {"config": {"order": {"listen": "0.0.0.0:1"}}}), ["listen"]),
        (merged(minimal, {"config": {"notification": {"public_url": "orders.example.com"}}}), ["public_url"]),
        (merged(minimal, {"config": {"database": {"url": "mysql://x"}}}), ["url"]),
        ({**minimal, "config": {key: it for key, it in minimal["config"].items() if key != "callers"}}, ["callers.tlsSecret"]),
        (merged(minimal, {"config": {"callers": {"allow_unauthenticated": "yes"}}}), ["allow_unauthenticated"]),
    ]
    for values, words in cases:
        try:
            render_values(values)
            problems.add(f"values without or with a wrong {words[0]} are taken")
        except HelmError as error:
            refused += 1
            for word in words:
                problems.unless(word in str(error), f"the refusal does not name {word}: {error}")
    for example in ("minimal", "full", "trial"):
        result = lint(CHART, values_of(example), strict=True, kube_version=KUBERNETES[0])
        for message in result["messages"]:
            # 1 is advice, such as that an icon would be pretty.
            problems.unless(message["severity"] <= 1, f"lint of {example}: {message}")
        problems.unless(not result["errors"], f"lint of {example}: {result['errors']}")
    return f"{refused} wrong sets of values are refused by name, 3 examples linted"


def check(rendered: dict[str, list[dict]], problems: Problems) -> str:
    count = 0
    for example, found in rendered.items():
        for manifest in found:
            count += 1
            check_schema(example, manifest, problems)
        check_whole(example, found, problems)
    full = {it["kind"] for it in rendered["full"]}
    wanted = {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "Pod",
        "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor",
    }  # fmt: skip
    problems.unless(wanted <= full, f"examples/full.yaml does not show {wanted - full}")
    return f"{count} manifests hold to the schemas of Kubernetes {' and '.join(KUBERNETES)}"


def check_schema(example: str, manifest: dict, problems: Problems) -> None:
    where = f"{example}: {name_of(manifest)}"
    if manifest["apiVersion"] == "monitoring.coreos.com/v1":
        for error in jsonschema.Draft202012Validator(OPERATOR[manifest["kind"]]).iter_errors(manifest["spec"]):
            problems.add(f"{where}: {error.json_path}: {error.message}")
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            problems.add(f"{where}, Kubernetes {version}: {error}")


def check_whole(example: str, found: list[dict], problems: Problems) -> None:
    """What no schema tells: that the parts fit each other, and that pods may do no more than they need."""
    pods = {
        name_of(it): it["spec"] if it["kind"] == "Pod" else it["spec"]["template"]["spec"]
        for it in found
        if it["kind"] in ("Deployment", "Job", "Pod")
    }
    for name, pod in pods.items():
        check_pod(f"{example}: {name}", pod, problems)
    labels = [it["spec"]["template"]["metadata"]["labels"] for it in of_kind(found, "Deployment")]
    for service in of_kind(found, "Service"):
        selector = service["spec"]["selector"].items()
        matching = [it for it in labels if selector <= it.items()]
        problems.unless(len(matching) == 1, f"{example}: {name_of(service)} selects {len(matching)} deployments")
    names = {name_of(it) for it in found}
    for ingress in of_kind(found, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            problems.unless(
                f"Service {path['backend']['service']['name']}" in names,
                f"{example}: the ingress leads to a service that is not there",
            )
            # The mailbox shows what is sent to anybody who opens it, as long as a channel has no carrier.
            problems.unless(path["path"] in ("/o", "/u", "/callbacks"), f"{example}: the ingress opens {path['path']}")
    denied = [it for it in of_kind(found, "NetworkPolicy") if "ingress" not in it["spec"] and "egress" not in it["spec"]]
    problems.unless(len(denied) == 1, f"{example}: there is no policy that denies everything")
    hooks = [it for it in found if "pre-upgrade" in it["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    problems.unless(any(it["kind"] == "Job" for it in hooks), f"{example}: nothing migrates before an upgrade")
    needed = {
        volume.get("configMap", {}).get("name")
        for job in hooks
        if job["kind"] == "Job"
        for volume in job["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "config"
    }
    brought = {it["metadata"]["name"] for it in hooks if it["kind"] == "ConfigMap"}
    problems.unless(needed <= brought, f"{example}: the migration waits for {needed - brought}, which comes after it")


def check_pod(where: str, pod: dict, problems: Problems) -> None:
    problems.unless(pod["automountServiceAccountToken"] is False, f"{where}: has a token of Kubernetes")
    security = pod["securityContext"]
    problems.unless(security["runAsNonRoot"] and security["runAsUser"] > 0, f"{where}: may be root")
    problems.unless(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: has no seccomp profile")
    volumes = {it["name"] for it in pod["volumes"]}
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container["securityContext"]
        problems.unless(own["readOnlyRootFilesystem"] is True, f"{where}: may write to its image")
        problems.unless(own["allowPrivilegeEscalation"] is False, f"{where}: may gain rights")
        problems.unless(own["capabilities"] == {"drop": ["ALL"]}, f"{where}: keeps capabilities")
        problems.unless(container["resources"]["limits"]["memory"] == MEMORY_LIMIT, f"{where}: memory limit")
        mounted = {it["name"] for it in container["volumeMounts"]}
        problems.unless(mounted <= volumes, f"{where}: mounts {mounted - volumes}, which is not there")
        # The role or command must be one of the program's.
        command = container["args"][2]
        commands = (ROOT / "services/countersign/src/cli.rs").read_text()
        variant = "".join(word.capitalize() for word in command.split("-"))
        problems.unless(re.search(rf"^    {variant}\b", commands, re.M), f"{where}: there is no command {command}")
        check_ending(where, pod, container, problems)


def check_ending(where: str, pod: dict, container: dict, problems: Problems) -> None:
    if "readinessProbe" not in container:
        return
    # Over TLS the kubelet can only see whether somebody listens.
    if "grpc" in container["readinessProbe"]:
        service = container["readinessProbe"]["grpc"]["service"].removeprefix("countersign.v1.")
        served = "\n".join(it.read_text() for it in (ROOT / "services").glob("*/src/server.rs"))
        problems.unless(f"{service}Server::<" in served, f"{where}: no service reports the health of {service}")
        # A restart helps nobody whose database is away.
        problems.unless(container["livenessProbe"]["grpc"]["service"] == "liveness", f"{where}: its liveness")
    # The notice that values.yaml gives balancers.
    left = pod["terminationGracePeriodSeconds"] - 5
    # The full example sets 40 seconds; both must leave room for the last exports (three of 3 s) and 2 s of unwinding.
    grace = 40 if where.startswith("full") else 30
    problems.unless(left >= grace + 2 + 9, f"{where}: is killed before its grace of {grace} s is over")


def schema_of_config() -> dict:
    schema = json.loads((CHART / "values.schema.json").read_text())
    return schema["properties"]["config"]["properties"]
