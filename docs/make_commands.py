"""Write docs/commands.md from the command line's own help: python docs/make_commands.py [--check]."""

from __future__ import annotations

import typer
from generated import write

from lungvae_core.cli import app


def text() -> str:
    """The page: a section a command, with its arguments, options and defaults."""
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Made by `python docs/make_commands.py`; a test fails when it is out of date.",
        "",
        "Bad input gets a sentence that says what to do, and exit code 2.",
    ]
    _describe(root, "lungvae", lines)
    return "\n".join(lines) + "\n"


def _describe(command, name: str, lines: list[str]) -> None:
    if hasattr(command, "commands"):
        for child in command.commands.values():
            _describe(child, f"{name} {child.name}", lines)
        return
    lines += ["", f"## {name}", "", " ".join((command.help or "").split()), ""]
    lines += ["| | | default |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        option = parameter.param_type_name == "option"
        spelled = "/".join(f"`{word}`" for word in parameter.opts + parameter.secondary_opts)
        shown = spelled if option else f"`{parameter.name.upper()}`"
        needed = "required" if parameter.required else parameter.default
        default = "" if needed in (None, "", False, ()) or callable(needed) else str(needed)
        lines.append(f"| {shown} | {' '.join((parameter.help or '').split())} | {default} |")


if __name__ == "__main__":
    write("commands.md", text())
