"""Python imports this by itself where this folder is on PYTHONPATH: see the package's text."""

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("_hermetic", Path(__file__).with_name("__init__.py"))
assert spec is not None
assert spec.loader is not None
module = sys.modules["_hermetic"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.install()
