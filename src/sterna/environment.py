"""What a result was made with: versions, machine, threads."""

from __future__ import annotations

import importlib.metadata
import os
import platform

PACKAGES = ("sterna", "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow")


def environment() -> dict[str, object]:
    """Versions of the packages that shape the numbers, and the machine they ran on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()
