"""sterna: transfer learning with evidence. What to transfer, how, and when not to.

    import sterna
    result = sterna.fit("flowers/", encoder="timm:resnet50.a1_in1k", tune="probe, partial")
    print(result)

The names below load torch when first used, so that `import sterna` and listing methods stay light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sterna.prediction import predict
    from sterna.result import Result
    from sterna.settings import Settings
    from sterna.shortlist import rank
    from sterna.study import fit

__all__ = ["Result", "Settings", "fit", "predict", "rank"]

_HOMES = {"Result": "result", "Settings": "settings", "fit": "study", "predict": "prediction", "rank": "shortlist"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"sterna.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sterna' has no attribute '{name}'")
