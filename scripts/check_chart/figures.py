"""Alarms and dashboard: PromQL that parses, metrics and label values that the code has, and a page of the guide for each alarm."""

import json
import re

import promql_parser
import yaml

from common import CHART, NAMESPACE, RELEASE, ROOT, Problems, of_kind

# From kube-state-metrics, which tells of what Kubernetes runs.
KUBERNETES = {
    "kube_deployment_status_replicas_available": {"namespace", "deployment"},
    "kube_pod_container_status_restarts_total": {"namespace", "pod"},
}

# Put on every series by whoever stores it; see files/alerts.yaml.
STORED = {"job"}
JOB = "countersign/notification-worker"
# Of what both services count.
BOTH = "countersign/(notification-worker|order-service)"

INSTRUMENT = re.compile(r"\b[uif]64_(?:observable_)?(up_down_counter|counter|gauge|histogram)\(\s*\"([^\"]+)\"")
UNIT = re.compile(r"\.with_unit\(\"([^\"]+)\"\)")
UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": "ratio"}


def sources() -> str:
    files = [it for it in (ROOT / "services").rglob("*.rs") if "tests" not in it.parts and it.name != "tests.rs"]
    return "\n".join(it.read_text() for it in sorted(files))


def metrics(code: str) -> set[str]:
    """The names under which Prometheus has the program's instruments (OpenTelemetry's rules of translation)."""
    names = set()
    for found in INSTRUMENT.finditer(code):
        kind, name = found.group(1), re.sub(r"[^a-zA-Z0-9:]", "_", found.group(2))
        unit = UNIT.search(code[found.end() :].split(".build()")[0])
        suffix = UNITS.get(unit.group(1), unit.group(1)) if unit else ""
        if suffix and not name.removesuffix("_total").endswith(f"_{suffix}"):
            name = f"{name.removesuffix('_total')}_{suffix}"
        if kind == "counter":
            name = f"{name.removesuffix('_total')}_total"
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    found = []

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def check_expression(where: str, expression: str, known: set[str], code: str) -> list[str]:
    """What is wrong with it."""
    wrong = []
    try:
        used = selectors(expression)
    except ValueError as error:
        return [f"{where}: {error}"]
    if not used:
        wrong.append(f"{where}: looks at no metric")
    for selector in used:
        if selector.name not in known and selector.name not in KUBERNETES:
            wrong.append(f"{where}: the code has no metric {selector.name}")
        matchers = {it.name: it.value for it in selector.matchers.matchers}
        if selector.name in known and matchers.get("job") not in (JOB, BOTH):
            wrong.append(f"{where}: {selector.name} is not narrowed to job {JOB} or {BOTH}")
        allowed = KUBERNETES.get(selector.name, set())
        for label, value in matchers.items():
            if label in STORED or label in allowed:
                continue
            if f'KeyValue::new("{label}"' not in code:
                wrong.append(f"{where}: the code has no label {label}")
            wrong += [f"{where}: no {label} is {it}" for it in value.split("|") if f'"{it}"' not in code]
    return wrong


def check(full: list[dict], problems: Problems) -> str:
    code = sources()
    known = metrics(code)
    problems.unless(known, "no metric was found in the code")
    made_up = check_expression("made up", f'made_up_total{{job="{JOB}", channel="PIGEON"}}', known, code)
    problems.unless(len(made_up) == 2, "a made-up metric and value are not noticed")

    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    shipped = of_kind(full, "PrometheusRule")[0]["spec"]
    text = json.dumps(shipped)
    problems.unless("RELEASE_NAME" not in text, "a place in the alarms is not filled in")
    problems.unless(f'namespace=\\"{NAMESPACE}\\"' in text, "the alarms do not look at the release's namespace")
    problems.unless(f"{RELEASE}-countersign-order-service" in text, "the alarms do not look at the release's services")
    used = set()
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for rule in alerts:
        for wrong in check_expression(rule["alert"], rule["expr"], known, code):
            problems.add(wrong)
        used |= {it.name for it in selectors(rule["expr"])}
        problems.unless(
            rule["annotations"]["runbook"] == f"OPERATING.md, {rule['alert']}", f"{rule['alert']}: its runbook"
        )
    check_guide({rule["alert"] for rule in alerts}, problems)
    panels = check_dashboard(full, known, code, used, problems)
    for name in sorted(known - used):
        problems.add(f"neither an alarm nor the dashboard shows {name}")
    return f"{len(alerts)} alarms and {panels} panels use {len(used)} metrics, all there"


def check_dashboard(full: list[dict], known: set[str], code: str, used: set[str], problems: Problems) -> int:
    dashboard = json.loads((CHART / "files/dashboard.json").read_text())
    maps = [it for it in of_kind(full, "ConfigMap") if "countersign.json" in it["data"]]
    shown = [json.loads(it["data"]["countersign.json"]) for it in maps]
    problems.unless(shown == [dashboard], "the dashboard in the chart is not the one in files/")
    panels = [it for it in dashboard["panels"] if it["type"] != "row"]
    problems.unless(len({it["id"] for it in dashboard["panels"]}) == len(dashboard["panels"]), "panels share an id")
    for panel in panels:
        problems.unless(panel["targets"], f"the panel {panel['title']} asks for nothing")
        for target in panel["targets"]:
            # Grafana puts the scrape interval in before it asks.
            expression = target["expr"].replace("$__rate_interval", "1m")
            for wrong in check_expression(f"panel {panel['title']}", expression, known, code):
                problems.add(wrong)
            used |= {it.name for it in selectors(expression)}
    return len(panels)


def check_guide(alerts: set[str], problems: Problems) -> None:
    guide = (ROOT / "OPERATING.md").read_text()
    described = set(re.findall(r"^### (Countersign\w+)$", guide, re.M))
    for name in sorted(alerts - described):
        problems.add(f"OPERATING.md has no section {name}")
    for name in sorted(described - alerts):
        problems.add(f"OPERATING.md describes {name}, which is no alarm")
