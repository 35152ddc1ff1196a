"""A script of scripts/ as a module, for tests that call its functions."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from conftest import ROOT


def load_script(name: str) -> ModuleType:
    """Load scripts/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
