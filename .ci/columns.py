#!/usr/bin/env python3
"""Lists the lines of text files that are longer than 100 columns.

rustfmt does not wrap comments, nor strings. Addresses, rows of tables, images, raw strings,
templates of strings, long names of functions and headers of TOML tables cannot be wrapped and may
be longer. Data (JSON), the markup of the page and what tools write are not checked.

usage: .ci/columns.py [--report]    with --report, the lines do not fail the check
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 100
SUFFIXES = {".css", ".js", ".lua", ".md", ".mjs", ".py", ".rs", ".sh", ".toml", ".yml"}
UNBREAKABLE = {
    ".js": re.compile(r"://|`"),
    ".md": re.compile(r"://|^\s*(\||!\[|<img )"),
    ".mjs": re.compile(r"://|`"),
    ".rs": re.compile(r'://|^\s*//[/!] \||\br#*"|\bfn \w+\(\)$'),
    ".toml": re.compile(r"://|^\["),
}
ADDRESS = re.compile("://")
# What is built or installed beside the sources.
OTHERS = {".git", "target", "node_modules", "corpus", "artifacts", "proptest-regressions"}


def is_text(path):
    if path.suffix:
        return path.suffix in SUFFIXES
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def paths(folder):
    for path in sorted(folder.iterdir()):
        if path.name in OTHERS or path.is_symlink():
            continue
        if path.is_dir():
            yield from paths(path)
        elif is_text(path):
            yield path


def long_lines():
    for path in paths(ROOT):
        unbreakable = UNBREAKABLE.get(path.suffix, ADDRESS)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > LIMIT and not unbreakable.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"


lines = list(long_lines())
print("\n".join(lines[:20]) if lines else f"all lines are within {LIMIT} columns")
if len(lines) > 20:
    print(f".. and {len(lines) - 20} more")
sys.exit(bool(lines) and sys.argv[1:] != ["--report"])
