"""What axe says of a page, with the few exceptions that are Streamlit's own shell, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from axe_playwright_python.sync_playwright import Axe

GRAVE = ("serious", "critical")


@dataclass(frozen=True)
class Shell:
    """A finding that is not ours to mend."""

    rule: str
    selector: str  # what the finding's element is inside of, or is
    reason: str


NAVIGATION = "[data-testid='stSidebarNavItems']"
KNOWN: tuple[Shell, ...] = (
    Shell("list", NAVIGATION, "Streamlit puts the sections of its navigation as div into ul"),
    Shell("listitem", NAVIGATION, "and the pages of a section as li into that div"),
)


def findings(page: Any) -> list[str]:
    """Serious and critical findings, a line each: rule, element, what is wrong."""
    found = []
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] not in GRAVE:
            continue
        for node in violation["nodes"]:
            if not any(_accepted(page, each, violation["id"], node) for each in KNOWN):
                summary = node["failureSummary"].replace("\n", " ")
                found.append(f"{violation['id']}: {node['target']} {node['html'][:160]} {summary}")
    return found


def _accepted(page: Any, accepted: Shell, rule: str, node: dict[str, Any]) -> bool:
    target = node["target"][-1]
    if rule != accepted.rule or not isinstance(target, str):
        return False
    return bool(
        page.evaluate(
            "([target, of]) => { const found = document.querySelector(target); "
            "return Boolean(found && found.closest(of)); }",
            [target, accepted.selector],
        )
    )
