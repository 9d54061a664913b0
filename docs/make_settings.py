"""Write the tables of settings of docs/training.md: python docs/make_settings.py [--check]."""

from __future__ import annotations

import json

from generated import filled, read, write

from lungvae_core.serving.jobs.form import settings_of
from lungvae_core.vae.config import PRESETS

PAGE = "training.md"


def tables() -> str:
    """A table a group, with the defaults of the preset dirvae, which has every setting."""
    lines: list[str] = []
    group = ""
    for setting in settings_of(PRESETS["dirvae"]):
        if setting.group != group:
            group = setting.group
            lines += ["", f"### {group}", "", "| setting | | what it does | range | `dirvae` |"]
            lines.append("|---|---|---|---|---|")
        about = setting.help.replace("|", "\\|")
        default = "" if setting.kind == "several" else json.dumps(setting.default).strip('"')
        lines.append(f"| `{setting.name}` | {setting.label} | {about} | {setting.span} | {default} |")
    return "\n".join(lines[1:]) + "\n\n"


if __name__ == "__main__":
    write(PAGE, filled(read(PAGE), "settings", tables()))
