"""Runs every check, tells everything that is wrong, and fails if anything is."""

import sys
import time

import alarms
import config
import dockerfile
import figures
import manifests
from common import Problems, render


def main() -> int:
    began = time.monotonic()
    problems = Problems()
    rendered = {name: render(name, problems) for name in ("minimal", "full", "trial")}
    checks = [
        ("chart", lambda: manifests.check_refusals(problems)),
        ("manifests", lambda: manifests.check(rendered, problems)),
        ("configuration", lambda: config.check(rendered, problems)),
        ("figures", lambda: figures.check(rendered["full"], problems)),
        ("alarms", lambda: alarms.check(rendered["full"], problems)),
        ("image", lambda: dockerfile.check(problems)),
    ]
    for name, run in checks:
        before = problems.count
        said = run()
        print(f"{name:<14} {'ok' if problems.count == before else 'WRONG'}  {said}")
    print(f"chart checked in {time.monotonic() - began:.1f} s")
    return 1 if problems.count else 0


sys.exit(main())
