"""Write the tables of settings of docs/training.md: python docs/make_settings.py [--check]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lungvae_core.serving.jobs.form import settings_of
from lungvae_core.vae.config import PRESETS

TARGET = Path(__file__).resolve().parent / "training.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end -->"


def text() -> str:
    """The page with the tables as the description has them."""
    before, rest = TARGET.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}{_tables()}{END}{rest.split(END, 1)[1]}"


def _tables() -> str:
    """A table a group, with the defaults of the preset dirvae, which has every setting."""
    lines: list[str] = []
    group = ""
    for setting in settings_of(PRESETS["dirvae"]):
        if setting.group != group:
            group = setting.group
            lines += ["", f"### {group}", "", "| setting | | what it does | range | `dirvae` |"]
            lines.append("|---|---|---|---|---|")
        words = setting.help.replace("|", "\\|")
        default = "" if setting.kind == "several" else json.dumps(setting.default).strip('"')
        lines.append(f"| `{setting.name}` | {setting.label} | {words} | {setting.span} | {default} |")
    return "\n".join(lines[1:]) + "\n\n"


def main() -> None:
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text(encoding="utf-8") != text())
    TARGET.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
