#!/usr/bin/env python3
"""Compares the public API with tests/api/public-api.txt.

usage: .ci/public-api.py             compare, and fail on a difference
       UPDATE=1 .ci/public-api.py    rewrite the list

The list comes from rustdoc's JSON with all features. Items under `#[doc(hidden)]` are not in it.
The crates whose types appear in signatures must be those of tests/api/public-dependencies.txt, in
the versions given there. A float is a share or a factor, and never a time.
"""

import difflib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from api_list import Api

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests/api/public-api.txt"
DEPENDENCIES = ROOT / "tests/api/public-dependencies.txt"
# What a float may be, by the words in its name.
FLOATS = {"credit", "jitter", "multiplier", "rate", "ratio", "start", "threshold"}
# Formats that api_list.py is known to read.
FORMATS = range(56, 60)
HEADER = """\
# The public API with all features, one item a line. Written by `UPDATE=1 .ci/public-api.py`.
# `auto`: auto traits; `(depends)`: for some of the type's parameters only. `[provided]`: a default
# implementation exists. Items of the standard library are written without their path, those of
# other crates with their crate's name. `unnameable`: a type in a signature without a public path.
"""


def metadata():
    command = "cargo metadata --quiet --locked --all-features --format-version 1"
    return json.loads(subprocess.check_output(command.split(), cwd=ROOT))


def document(target):
    command = "cargo rustdoc --quiet --locked --all-features --lib --" \
        " -Z unstable-options --output-format json"
    environment = os.environ | {"RUSTDOC": str(ROOT / ".ci/rustdoc-json")}
    subprocess.run(command.split(), cwd=ROOT, env=environment, check=True)
    found = json.loads((Path(target) / "doc/tower_breaker.json").read_text())
    if found["format_version"] not in FORMATS:
        print(f"warning: rustdoc's JSON format {found['format_version']} is new to this script")
    return found


def compatible(version):
    """The part of a version that a compatible update keeps."""
    major, minor, patch = version.split("+")[0].split("-")[0].split(".")
    return major if major != "0" else f"0.{minor}" if minor != "0" else f"0.0.{patch}"


def check_dependencies(foreign, packages):
    """Returns what is wrong with the crates that the API names."""
    allowed = {}
    for line in DEPENDENCIES.read_text().splitlines():
        if line and not line.startswith("#"):
            name, version, *_ = line.split()
            allowed[name] = version
    versions = {}
    for package in packages:
        name = package["name"].replace("-", "_")
        versions.setdefault(name, set()).add(compatible(package["version"]))
    faults = []
    for crate, items in sorted(foreign.items()):
        if crate not in allowed:
            named = ", ".join(sorted(items))
            faults.append(f"{crate} is not in the list, but the API names {named}")
        elif allowed[crate] not in versions[crate]:
            built = ", ".join(sorted(versions[crate]))
            faults.append(f"{crate} {allowed[crate]} is in the list, but the build has {built}")
    for crate in sorted(set(allowed) - set(foreign)):
        faults.append(f"{crate} is in the list, but the API does not name it")
    return faults


def check_floats(text):
    """Returns the lines with a float that may be a time."""
    faults = []
    for line in text.splitlines():
        named = re.findall(r"(\w+): (?:Option<)?f(?:32|64)\b", line)
        returned = re.findall(r"(\w+)(?:<[^>]*>)?\([^)]*\) -> (?:Option<)?f(?:32|64)\b", line)
        is_other = "f64" in line.replace("Option<f64>", "f64") and not named and not returned
        if is_other or any(not FLOATS & set(name.split("_")) for name in named + returned):
            faults.append(line)
    return faults


def main():
    meta = metadata()
    api = Api(document(meta["target_directory"]))
    text = HEADER + "\n".join(api.render()) + "\n"
    status = 0
    if os.environ.get("UPDATE"):
        LIST.write_text(text)
        print(f"wrote {LIST.relative_to(ROOT)}")
    else:
        old = LIST.read_text() if LIST.exists() else ""
        difference = list(difflib.unified_diff(
            old.splitlines(), text.splitlines(), "public-api.txt", "the sources", lineterm="", n=0))
        if difference:
            status = 1
            print("\n".join(difference))
            print("\nThe public API differs from tests/api/public-api.txt. If that is intended,\n"
                  "run `UPDATE=1 .ci/public-api.py`, commit the list, and record the change in\n"
                  "CHANGELOG.md. Removed and changed lines are breaking changes.")
    faults = check_dependencies(api.foreign, meta["packages"])
    if faults:
        status = 1
        print("\nThe crates that the API names differ from tests/api/public-dependencies.txt:")
        print("\n".join(f"- {fault}" for fault in faults))
        print("A breaking release of such a crate is a breaking release of this crate.")
    times = check_floats(text)
    if times:
        status = 1
        print("\nA time is a `Duration`; add the word for another quantity to `FLOATS`:")
        print("\n".join(times))
    if status == 0:
        print(f"{len(text[len(HEADER):].splitlines())} lines agree; they name types of "
              f"{len(api.foreign)} other crates")
    return status


sys.exit(main())
