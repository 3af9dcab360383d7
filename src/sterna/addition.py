"""What a phase has added to the weights of a network, by itself: the files in which peft keeps an adapter.

`adapter_config.json` and `adapter_model.safetensors`. Layers go by the names that they have in the library's own model.
What was merged is kept as peft has it: `peft.PeftModel.from_pretrained(model, FOLDER)` puts it, and the head, onto the
model that training started from. What could not be merged (see `bottlenecks`, `prompts`, `prefixes`) is in no other
file, and a model that is opened gets it back. Only weights are written, and nothing that is read can run code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from sterna import bottlenecks, files, prefixes, prompts
from sterna.network import Network, digest
from sterna.records import Encoder

FOLDER = "adapter"  # beside the weights of a run, and within its model folder
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is not merged, by its kind.
LASTING = {bottlenecks.KIND: bottlenecks, prompts.KIND: prompts, prefixes.KIND: prefixes}
PREFIX = "base_model.model."  # of names, as peft has them


def write(network: Network, place: Path, origin: str = "") -> None:
    """Write the adapter of a network as the folder `place`, with the head as it is now; nothing where it has none.

    `origin`: what the network started from, as its library calls it.
    """
    added = standing(network) or network.added
    if added is None:
        return
    config, tensors = added
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


def standing(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What stays beside the weights of a network, as a configuration and tensors; None where nothing does."""
    return bottlenecks.of(network) or prompts.of(network) or prefixes.of(network)


@contextmanager
def without(network: Network) -> Iterator[None]:
    """Inside, a network is what its library knows: nothing stays beside its weights."""
    with bottlenecks.without(network), prompts.without(network), prefixes.without(network):
        yield


def restore(network: Network, place: Path) -> None:
    """Have a network what it had when `write` wrote the folder `place`, if anything."""
    found = read(place)
    if found is not None and found[0].get("kind") in LASTING:
        LASTING[found[0]["kind"]].put(network, found[1])
    else:
        network.added = found


def equipped(encoder: Encoder, place: Path) -> Encoder:
    """The encoder with what stays beside its weights in a model folder, as long as that is not in any other file.

    `place`: the folder of the adapter. The digest is then another one, because the features are.
    """
    found = read(place)
    if found is None or found[0].get("kind") not in LASTING:
        return encoder
    LASTING[found[0]["kind"]].put(encoder.network, found[1])
    return replace(
        encoder,
        digest=digest(f"{encoder.digest} {found[0]['kind']}", found[1]),
        words=encoder.words and partial(_equipped, encoder.words, place),
        pairs=encoder.pairs and partial(_equipped, encoder.pairs, place),
    )


def _equipped(make: Callable[[], Encoder], place: Path) -> Encoder:
    return equipped(make(), place)
