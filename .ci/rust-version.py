#!/usr/bin/env python3
"""Checks that the crate's `rust-version` is enough for every dependency that users build.

The README has to state the same version.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Dependencies of this crate's own model checking, which no user builds.
INTERNAL = "cfg(tower_breaker_loom)"


def parse(version):
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def main():
    command = ["cargo", "metadata", "--quiet", "--locked", "--all-features", "--format-version", "1"]
    meta = json.loads(subprocess.check_output(command, cwd=ROOT))
    packages = {package["id"]: package for package in meta["packages"]}
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}

    root = meta["resolve"]["root"]
    reached, waiting = {root}, [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            used = any(kind["kind"] != "dev" and kind["target"] != INTERNAL
                       for kind in dependency["dep_kinds"])
            if used and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                waiting.append(dependency["pkg"])

    stated = packages[root]["rust_version"]
    demands = sorted(
        ((parse(package["rust_version"]), f"{package['name']} {package['version']}")
         for package in (packages[id] for id in reached - {root}) if package["rust_version"]),
        reverse=True)
    higher = [demand for demand in demands if demand[0] > parse(stated)]
    for version, name in higher:
        print(f"{name} needs Rust {'.'.join(map(str, version))}; Cargo.toml states {stated}")
    if not higher:
        version, name = demands[0]
        print(f"Rust {stated} is enough for {len(reached) - 1} dependencies; the highest demand is "
              f"{'.'.join(map(str, version))} ({name})")
    readme = re.search(r"\bRust version is (\d+\.\d+)", (ROOT / "README.md").read_text())
    if readme is None or readme[1] != stated:
        print(f'README.md does not say "minimum supported Rust version is {stated}"')
        return True
    return bool(higher)


sys.exit(main())
