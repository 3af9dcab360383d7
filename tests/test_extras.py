"""What the extras leave out is not asked for by those who did not install it."""

from __future__ import annotations

import subprocess
import sys

import pytest

ABSENT = {  # a kind of data: packages of other extras, which it does without
    "images": ("transformers", "tokenizers", "peft", "pyarrow", "soundfile", "sentence_transformers", "ot"),
    "tables": ("transformers", "tokenizers", "huggingface_hub", "timm", "torchvision", "peft", "soundfile", "ot"),
}
OWN = {"images": ("builtin", "classical", "local", "timm", "torchvision"), "tables": ("columns",)}  # encoders


@pytest.mark.parametrize("extra", ABSENT)
def test_a_kind_of_data_does_without_packages_of_other_extras(extra: str) -> None:
    lines = ["import sys", *(f"sys.modules['{name}'] = None" for name in ABSENT[extra]), "import sterna"]
    lines += [
        "import sterna.report",
        "sterna.fit, sterna.predict, sterna.rank, sterna.distance, sterna.way, sterna.run_study",
    ]
    lines += [f"import sterna.encoders.{name}" for name in OWN[extra]]
    ran = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
