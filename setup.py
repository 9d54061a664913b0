"""Put app.py, the pages and the shipped models into a wheel; the rest of the build is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# What the running app reads beside the package; `lungvae_core.app_files` looks for it in `lungvae_core/_app`.
APP = ("app.py", ".streamlit/config.toml", "pages", "models", "docs/seeds.json")


class WithApp(build_py):
    """Python's modules, and the app's files in the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a checkout has them where they are
            return
        target = Path(self.build_lib) / "lungvae_core" / "_app"
        shutil.rmtree(target, ignore_errors=True)
        for name in APP:
            source, place = ROOT / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copyfile(source, place)


setup(cmdclass={"build_py": WithApp})
