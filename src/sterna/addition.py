"""What a phase has added to the weights of a network, by itself: the files in which peft keeps an adapter.

`adapter_config.json` and `adapter_model.safetensors`. Layers go by the names that they have in the library's own model,
so `peft.PeftModel.from_pretrained(model, FOLDER)` puts them, and the head, onto the model that training started from.
Only weights are written, and nothing that is read can run code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from sterna import files
from sterna.network import Network

FOLDER = "adapter"  # beside the weights of a run, and within its model folder
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # of names, as peft has them


def write(network: Network, place: Path, origin: str = "") -> None:
    """Write the adapter of a network as the folder `place`, with the head as it is now; nothing where it has none.

    `origin`: what the network started from, as its library calls it.
    """
    if network.added is None:
        return
    config, tensors = network.added
    heads = config.get("modules_to_save") or []
    found = dict(tensors)
    for head in heads:
        for name, value in network.head.state_dict().items():
            found[f"{PREFIX}{head}.{name}"] = value.detach().cpu().clone().contiguous()
    place.mkdir(parents=True, exist_ok=True)
    files.write_bytes(place / WEIGHTS, save(found, metadata={"format": "pt"}))
    files.write_json(place / CONFIG, {**config, **({"base_model_name_or_path": origin} if origin else {})})


def read(place: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The adapter in a folder; None where there is none."""
    if not (place / CONFIG).is_file():
        return None
    return files.read_json(place / CONFIG), load_file(str(place / WEIGHTS))
