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
    from sterna.campaign import run_study
    from sterna.comparison import distance
    from sterna.detour import way
    from sterna.prediction import predict
    from sterna.result import Result
    from sterna.settings import Settings
    from sterna.shortlist import rank
    from sterna.study import fit

__all__ = ["Result", "Settings", "distance", "fit", "predict", "rank", "run_study", "way"]

_HOMES = {
    "Result": "result",
    "Settings": "settings",
    "distance": "comparison",
    "fit": "study",
    "predict": "prediction",
    "rank": "shortlist",
    "run_study": "campaign",
    "way": "detour",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"sterna.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sterna' has no attribute '{name}'")
