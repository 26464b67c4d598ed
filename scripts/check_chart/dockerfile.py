"""The Dockerfile, as far as that goes without building it."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch

from common import ROOT, Problems


def copied(text: str) -> list[str]:
    """What is copied from the source, not from another stage."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
    return [source for line in lines for source in line.split()[:-1]]


def check(problems: Problems) -> str:
    text = (ROOT / "Dockerfile").read_text()
    done = subprocess.run(["hadolint", "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    problems.unless(done.returncode == 0, f"hadolint: {done.stdout}{done.stderr}")

    sources = copied(text)
    ignore = [it for it in (ROOT / ".dockerignore").read_text().splitlines() if it and not it.startswith("#")]
    problems.unless(ignore[0] == "*", ".dockerignore must begin with everything")
    for source in sources:
        problems.unless((ROOT / source).exists(), f"the Dockerfile copies {source}, which is not there")
        problems.unless(f"!{source}" in ignore, f".dockerignore keeps {source} from the build")
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    for member in cargo["workspace"]["members"]:
        within = any(fnmatch(member, pattern) for it in sources for pattern in (it, f"{it}/*"))
        problems.unless(within, f"the Dockerfile does not copy {member}, which cargo wants to see")
    profile = re.search(r"--profile (\w+)", text)
    problems.unless(profile and profile[1] in cargo["profile"], "the Dockerfile builds with a profile that is not there")
    problems.unless(f"target/{profile[1]}/countersign" in text, "the Dockerfile takes the program from elsewhere")
    wanted = cargo["workspace"]["package"]["rust-version"]
    problems.unless(f"rust:{wanted}." in text, f"the Dockerfile does not build with Rust {wanted}")
    problems.unless(re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.M), "the image runs as root")
    return f"hadolint is content, {len(sources)} sources are there"
