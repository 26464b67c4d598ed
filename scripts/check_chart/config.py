"""The configuration that the chart writes, read by the program itself."""

import base64
import os
import re
import subprocess
import tempfile
from pathlib import Path

from common import ROOT, Problems, merged, of_kind, render_values, values_of
from manifests import schema_of_config

MOUNTED = "/run/secrets/countersign"

# What the chart sets by itself: addresses, and where the worker finds the order service.
OURS = {"order.listen", "notification.listen", "notification.grpc_listen", "notification.order_service_url"}

# Files of the configuration that hold no secret.
PLAIN_FILES = {"audit.anchor_file"}

# A webhook secret of 32 bytes; everything else that is secret takes any text.
WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SECRETS = {
    "database-url": "mysql://countersign:secret@mysql.example:3306/countersign",
    "migrate-database-url": "mysql://owner:secret@mysql.example:3306/countersign",
    "links-key": "0123456789abcdef0123456789abcdef0123456789ab",
    "personal-data-keys": "lookup:" + base64.b64encode(bytes(32)).decode() + " 1:" + base64.b64encode(bytes(range(32))).decode(),
    "smtp-url": "smtp://orders:secret@relay.example:587?tls=required",
    # Signs nothing: a key of no domain, for the program looks whether it is one.
    "dkim-key": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIK9t+S2bbfstlPafcKhxwt8i0d15px41A8KL9qpC1j3/\n-----END PRIVATE KEY-----",
    "bounces-secret": WEBHOOK_SECRET,
    "sms-secret": WEBHOOK_SECRET,
    "twilio-auth-token": "fedcba9876543210fedcba9876543210",
}


def binary() -> Path:
    path = Path(os.environ.get("COUNTERSIGN_BINARY", ROOT / "target/debug/countersign"))
    if not path.is_file():
        raise SystemExit(f"check-chart: there is no {path}; run `cargo build --package countersign` first")
    return path


def check_config(text: str, folder: Path, process: str = "notification-worker") -> subprocess.CompletedProcess:
    """`countersign check-config` on a file of a process, with the secrets of the folder."""
    file = folder / "countersign.toml"
    file.write_text(text.replace(MOUNTED, str(folder)))
    command = [binary(), "--config", file, "check-config", "--without-files", "--of", process]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={}, timeout=60)


def check(rendered: dict[str, list[dict]], problems: Problems) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key, value in SECRETS.items():
            (folder / key).write_text(value + "\n")
        read = 0
        for example, found in rendered.items():
            for text, where in configurations(found, example):
                read += 1
                check_accepted(text, where, folder, problems)
        check_refused(folder, problems)
        keys = check_keys(folder, problems)
    return f"{read} files are taken by the program, {keys} keys of the chart are the program's"


def configurations(found: list[dict], example: str) -> list[tuple[str, str]]:
    maps = [it for it in of_kind(found, "ConfigMap") if "order-service.toml" in it["data"]]
    return [
        (text, f"{example}: {it['metadata']['name']}, {file}") for it in maps for file, text in it["data"].items()
    ]


def check_accepted(text: str, where: str, folder: Path, problems: Problems) -> None:
    done = check_config(text, folder, where.rpartition(", ")[2].removesuffix(".toml"))
    problems.unless(done.returncode == 0, f"{where} is refused: {done.stderr}")
    if where.startswith("full"):
        problems.unless("warning:" not in done.stderr, f"{where} is hardly meant so: {done.stderr}")
    # What was written is what is in force, not a default.
    for wanted in ('"0.0.0.0:50051"',):
        problems.unless(wanted in done.stdout, f"{where}: {wanted} is not in force")
    if "notification-worker" in where:
        for wanted in ('"https://orders.example.com"', "order-service:50051", 'transport = "smtp"'):
            known = wanted in done.stdout or where.startswith("trial")
            problems.unless(known, f"{where}: {wanted} is not in force")
    # Both services read it, and must agree.
    if where.startswith("full"):
        problems.unless("silence_minutes_max = 20" in done.stdout, f"{where}: the workers' limit of silence is not in force")
    for value in SECRETS.values():
        problems.unless(value not in done.stdout, f"{where}: a secret is shown")


def check_refused(folder: Path, problems: Problems) -> None:
    """config.extra is read by the program, and the check can fail."""
    minimal = values_of("minimal")
    for extra, word in [("[orders]\nfast = true\n", "orders"), ("[order]\ncommitters = 3\n", "")]:
        values = merged(minimal, {"config": {"extra": extra}})
        found = render_values(values)["configmap.yaml"]
        done = check_config(found[0]["data"]["order-service.toml"], folder)
        problems.unless(done.returncode != 0 and word in done.stderr, f"config.extra {extra!r} is taken")


def known_keys(section: str, folder: Path) -> set[str]:
    """The program lists the keys of a section when it is asked for one that it does not know."""
    done = check_config(f"[{section}]\nno_such_key = 1\n" if section else "no_such_key = 1\n", folder)
    listed = re.search(r"known there: (.*)", done.stderr)
    return set(listed.group(1).split(", ")) if listed else set()


def check_keys(folder: Path, problems: Problems) -> int:
    """The schema of the values and the program know the same keys, so that neither runs away from the other."""
    schema = {key: it for key, it in schema_of_config().items() if key != "extra"}
    sections = known_keys("", folder)
    problems.unless(sections, "the program does not tell which sections it knows")
    for section in sorted(sections - set(schema) - {"links", "personal_data"}):
        print(f"note: the chart sets [{section}] by config.extra only")
    return sum(check_section(name, it, folder, problems) for name, it in schema.items())


def check_section(section: str, schema: dict, folder: Path, problems: Problems) -> int:
    known = known_keys(section, folder)
    problems.unless(known, f"the program has no section [{section}]")
    files = {key for key in known if key.endswith("_file") and f"{section}.{key}" not in PLAIN_FILES}
    secret = files | {key for key in known if f"{key}_file" in files}
    ours = {it.rpartition(".")[2] for it in OURS if it.rpartition(".")[0] == section}
    # A second account has none behind it: the program knows the key there and refuses it.
    behind = {"fallback"} if section.endswith(".fallback") else set()
    settable = known - secret - ours - behind
    given = set(schema["properties"])
    for key in sorted(given - settable):
        problems.add(f"values.schema.json has config.{section}.{key}, which the program does not take there")
    for key in sorted(settable - given):
        problems.add(f"the program has {section}.{key}: add it to config.{section} in values.schema.json")
    count = len(given)
    for key, nested in schema["properties"].items():
        if "properties" in nested:
            count += check_section(f"{section}.{key}", nested, folder, problems)
    return count
