"""Write constraints.txt, the versions with which the tests ran, or the lowest ones that are allowed.

    python docs/make_constraints.py                    # of this environment, into constraints.txt
    python docs/make_constraints.py --lowest FILE      # the lower bounds, for `make test-lowest`

Lists only the project's requirements, and theirs. The lowest versions leave out torch, which is tested in the
build that a machine has, and the tools of the tests.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# The versions with which the tests ran on Linux, Python 3.11. Renew them with `make constraints`.\n"


def project(*extras: str) -> list[Requirement]:
    """The project's own requirements, with those of the named extras, or of all extras."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = table["optional-dependencies"]
    lines = [*table["dependencies"], *(line for extra in extras or optional for line in optional[extra])]
    return [Requirement(line) for line in lines]


def needed(requirements: list[Requirement]) -> Iterator[tuple[str, str]]:
    """(name, version) of every installed package that requirements need, directly or not."""
    waiting, seen = [(one, "") for one in requirements], set()
    while waiting:
        one, extra = waiting.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in seen or (one.marker and not one.marker.evaluate({"extra": extra})):
            continue
        seen.add(key)
        try:
            package = distribution(one.name)
        except PackageNotFoundError:  # for another system, or an extra that is not installed here
            continue
        yield str(key[0]), Version(package.version).public  # a local build's name says nothing elsewhere
        further = [Requirement(line) for line in package.requires or []]
        waiting += [(each, name) for each in further for name in ("", *one.extras)]


def lowest(requirements: list[Requirement]) -> Iterator[tuple[str, str]]:
    """(name, version) of each lower bound."""
    for one in requirements:
        bounds = [each.version for each in one.specifier if each.operator in (">=", "==")]
        if bounds and canonicalize_name(one.name) != "torch":
            yield str(canonicalize_name(one.name)), bounds[0]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowest", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    if chosen.lowest:
        pairs, path, head = lowest(project("server")), chosen.lowest, ""
    else:
        pairs, path, head = needed(project()), ROOT / "constraints.txt", HEAD
    lines = sorted({f"{name}=={version}" for name, version in pairs})
    path.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.!]*", line) for line in lines)


if __name__ == "__main__":
    main()
