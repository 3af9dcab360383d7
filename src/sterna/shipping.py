"""The model folder of a run, its card, and the held-out predictions beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sterna import artifact, files, reading
from sterna.records import Fitted, Table
from sterna.result import Result, summaries

EXAMPLES = 8  # items on which a saved model must agree with the one in memory


def ship(fitted: Fitted, table: Table, place: Path, result: Result) -> None:
    """Write `place/model` and check that it opens and answers as the network in memory does."""
    rows = table.rows[:EXAMPLES]
    preparation = fitted.encoder.preparation
    frames = next(iter(reading.frames(table.items, preparation, rows, size=len(rows), workers=0)))
    facts = {"shipped": result.shipped, "verdict": result.verdict.sentence}
    artifact.save(fitted, place / "model", preparation.tensor(frames), card(fitted, result), facts)


def card(fitted: Fitted, result: Result) -> str:
    """The model card, in Markdown."""
    shipped = next(one for one in summaries(result.routes) if one.name == result.shipped)
    rows = [
        f"| {name.replace('_', ' ')} | {one.value:.4f} | {one.low:.4f} to {one.high:.4f} |"
        for name, one in shipped.metrics.items()
    ]
    how = {
        "timm": 'model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True)',
        "torchvision": "model = torchvision.models.get_model(architecture, num_classes=n), then load_state_dict",
    }.get(str(fitted.encoder.config.get("library", "timm")), "sterna predict PATH_OF_THIS_FOLDER photos/")
    return "\n".join(
        [
            f"# {result.shipped} from {fitted.encoder.reference}",
            "",
            f"Classes: {', '.join(fitted.classes)}.",
            "",
            f"    {how}",
            "",
            "| held-out figure | value | 95 % interval |",
            "|---|---|---|",
            *rows,
            "",
            result.verdict.sentence,
            "",
        ]
    )


def write_predictions(place: Path, lines: Sequence[Sequence[str]]) -> None:
    """`predictions.csv`: a header, then one line for each held-out item."""
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    files.write_text(place / "predictions.csv", text.getvalue())
