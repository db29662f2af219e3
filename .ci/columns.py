#!/usr/bin/env python3
"""Lists the lines of Rust sources that are longer than 100 columns.

rustfmt does not wrap comments, nor strings. Addresses, rows of tables, raw strings and long names
of functions cannot be wrapped and may be longer.

usage: .ci/columns.py [--report]    with --report, the lines do not fail the check
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 100
UNBREAKABLE = re.compile(r'://|^\s*//[/!] \||\br#*"|\bfn \w+\(\)$')
FOLDERS = ["src", "examples", "tests", "benches", "fuzz"]


def long_lines():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.rs")):
            name = path.relative_to(ROOT)
            if "target" in name.parts:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if len(line) > LIMIT and not UNBREAKABLE.search(line):
                    yield f"{name}:{number}: {len(line)} columns"


lines = list(long_lines())
print("\n".join(lines[:20]) if lines else f"all lines are within {LIMIT} columns")
if len(lines) > 20:
    print(f".. and {len(lines) - 20} more")
sys.exit(bool(lines) and sys.argv[1:] != ["--report"])
