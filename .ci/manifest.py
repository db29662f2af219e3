#!/usr/bin/env python3
"""Checks that Cargo.toml agrees with the dependencies, the README and the crate's documentation.

- `rust-version` is enough for every dependency that users build, and the README states it.
- The README and the crate's documentation list every feature.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def parse(version):
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def metadata():
    command = "cargo metadata --quiet --locked --all-features --format-version 1"
    return json.loads(subprocess.check_output(command.split(), cwd=ROOT))


def dependencies(meta):
    """The packages that users build, on any platform, with all features."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    reached, waiting = set(), [meta["resolve"]["root"]]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            used = any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            if used and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return [package for package in meta["packages"] if package["id"] in reached]


def check_rust_version(root, packages):
    stated = root["rust_version"]
    demands = sorted(((parse(package["rust_version"]), f"{package['name']} {package['version']}")
                      for package in packages if package["rust_version"]), reverse=True)
    for version, name in demands:
        if version > parse(stated):
            needed = ".".join(map(str, version))
            yield f"{name} needs Rust {needed}, but rust-version is {stated}"
    readme = re.search(r"\bRust version is (\d+\.\d+)", (ROOT / "README.md").read_text())
    if readme is None or readme[1] != stated:
        yield f'README.md does not say "The minimum supported Rust version is {stated}"'
    version, name = demands[0]
    print(f"Rust {stated} for {len(packages)} dependencies; the highest demand is "
          f"{'.'.join(map(str, version))} ({name})")


def check_features(root):
    features = set(root["features"]) - {"default"}
    for path, comment in (("README.md", ""), ("src/lib.rs", "//! ")):
        row = re.compile(rf"^{comment}\| `([\w-]+)` \|", re.MULTILINE)
        listed = set(row.findall((ROOT / path).read_text()))
        for feature in sorted(features - listed):
            yield f"{path} does not list the feature {feature}"
    print(f"features: {', '.join(sorted(features))}")


def main():
    meta = metadata()
    root = next(package for package in meta["packages"] if package["id"] == meta["resolve"]["root"])
    faults = [*check_rust_version(root, dependencies(meta)), *check_features(root)]
    print("\n".join(faults or ["the manifest agrees with dependencies and documentation"]))
    return bool(faults)


sys.exit(main())
