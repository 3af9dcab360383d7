"""Everything that is needed to run this again and get the same numbers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section


def section(material: Material) -> Section:
    """The command, the routes as specifications, seeds, digests and versions."""
    kept = material.result
    command, exact = _command(material)
    routes = [one for one in material.plan.get("routes") or () if isinstance(one, Mapping)]
    columns = list(dict.fromkeys(str(key) for one in routes for key in one))
    values = {
        "command": command,
        "exact": exact,
        "columns": [numbers.named(one) for one in columns],
        "routes": [[(str(one.get(key, "")), str(one.get(key, ""))) for key in columns] for one in routes],
        "facts": [
            ("seeds", numbers.listed([str(one) for one in sorted({one.seed for one in kept.routes})], 20)),
            ("digest of the data", str(kept.data.get("digest") or "-")),
            ("fingerprint of the plan", str(material.plan.get("fingerprint") or "-")),
        ],
        "environment": [(str(key), str(value)) for key, value in kept.environment.items()],
    }
    return Section("repeat", "To repeat this run", values)


def _command(material: Material) -> tuple[str, bool]:
    """The command where the plan has it, else what the plan says of it."""
    if isinstance(material.plan.get("command"), str):
        return material.plan["command"], True
    transfer = [one for one in material.result.routes if not one.floor]
    words = ["sterna", "fit", str(material.result.data.get("origin") or "DATA")]
    for option, values in (
        ("--encoder", [one.encoder for one in transfer]),
        ("--tune", [one.tune for one in transfer]),
        ("--loss", [one.loss for one in transfer]),
    ):
        distinct = list(dict.fromkeys(filter(None, values)))
        words += [option, ", ".join(distinct)] if distinct else []
    words += ["--task", material.result.task, "--seeds", str(len({one.seed for one in material.result.routes}))]
    return shlex.join(words), False
