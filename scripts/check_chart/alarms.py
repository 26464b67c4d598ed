"""Alarms at work: Prometheus' own promtool works the rules out on series that must ring them and on series that must not."""

import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from common import Problems, of_kind
from figures import selectors

# What rings which alarm; each file names the groups of rules that it needs.
TESTS = Path(__file__).resolve().parent / "alarms"


def check(full: list[dict], problems: Problems) -> str:
    rules = of_kind(full, "PrometheusRule")[0]["spec"]
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    files = sorted(TESTS.glob("*.yaml"))
    with tempfile.TemporaryDirectory() as name:
        run(rules, files, Path(name), problems)
    tests = [test for file in files for test in yaml.safe_load(file.read_text())["tests"]]
    for alert, expression in alerts.items():
        for wrong in missing(alert, expression, tests):
            problems.add(wrong)
    made_up = missing("CountersignMadeUp", "safe_mode == 1", tests)
    problems.unless(len(made_up) == 2, "an alarm that nothing tests is not noticed")
    looks = [look for test in tests for look in test.get("alert_rule_test", [])]
    for alert in sorted({look["alertname"] for look in looks} - set(alerts)):
        problems.add(f"alarms: {alert} is tested, which is no alarm")
    problems.unless("<no value>" not in str(looks), "alarms: a summary has a gap that nothing fills")
    return f"{len(alerts)} alarms ring when they must and only then, in {len(tests)} courses of events"


def run(rules: dict, files: list[Path], folder: Path, problems: Problems) -> None:
    """All tests, on the rules as the chart renders them."""
    whole = folder / "rules.yaml"
    whole.write_text(yaml.safe_dump(rules))
    for group in rules["groups"]:
        (folder / f"{group['name']}.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    for file in files:
        (folder / file.name).write_text(file.read_text())
    said = promtool(folder, "check", "rules", whole.name)
    problems.unless(said is None, f"promtool does not take the rules: {said}")
    with ThreadPoolExecutor() as threads:
        played = threads.map(lambda file: promtool(folder, "test", "rules", file.name), files)
        for file, said in zip(files, played):
            problems.unless(said is None, f"alarms/{file.name}: {said}")

    # Rules that never ring, and rules that always do.
    for expression in ("vector(0) == 1", "vector(1)"):
        for group in rules["groups"]:
            changed = [{**rule, "expr": expression} for rule in group["rules"]]
            (folder / f"{group['name']}.yaml").write_text(yaml.safe_dump({"groups": [{**group, "rules": changed}]}))
        said = promtool(folder, "test", "rules", "services.yaml")
        problems.unless(said, f"it is not noticed when rules are {expression}")


def promtool(folder: Path, *arguments: str) -> str | None:
    """What it says, when it finds something wrong."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=folder, timeout=120)
    return f"{done.stdout}{done.stderr}".strip() if done.returncode else None


def missing(alert: str, expression: str, tests: list[dict]) -> list[str]:
    """Which of the two kinds of tests an alarm lacks. Only those count whose series are such as it looks at."""
    metrics = {it.name for it in selectors(expression)}
    rung = silent = False
    for test in tests:
        series = {re.match(r"\w+", it["series"])[0] for it in test["input_series"]}
        looks = [it for it in test.get("alert_rule_test", []) if it["alertname"] == alert]
        if not looks or not series & metrics:
            continue
        rings = any(it.get("exp_alerts") for it in looks)
        rung, silent = rung or rings, silent or not rings
    wrong = []
    if not rung:
        wrong.append(f"alarms: no test has series that ring {alert}")
    if not silent:
        wrong.append(f"alarms: no test has series that nearly ring {alert}, but must not")
    return wrong
