"""A fitted network <-> a model folder that its own library opens without sterna.

`config.json` and `model.safetensors` are laid out as timm (or torchvision, or the encoder's own origin) expects them;
class names and preprocessing are in the config. An encoder whose library wants other files, such as a tokenizer, writes
its folder itself. A folder is written whole under a temporary name, opened again, and compared with the network it came
from before it counts as saved.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn

from sterna import addition, files, folder
from sterna.errors import EncoderError
from sterna.network import deviation
from sterna.records import Encoder, Fitted

ENSEMBLE = "ensemble"  # what the config of a folder of several models names as its library
TOLERANCE = 1e-5  # relative difference of logits that a saved and reopened model may show


def save(fitted: Fitted, place: Path, inputs: Tensor, card: str, facts: Mapping[str, Any]) -> None:
    """Write the model folder `place`.

    Args:
        inputs: prepared inputs (b, ...) on which the reopened model must agree with `fitted`.
        card: the model card, in Markdown.
        facts: what else goes into the config, under "sterna"; "task" is the task that the head answers.

    Raises `EncoderError` when the reopened model gives other logits; nothing is left at `place` then.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".model-", dir=place.parent))
    except OSError as error:
        raise files.unwritten(place, error) from error
    try:
        fitted.network.cpu().eval()
        write = fitted.encoder.write or _write
        with addition.without(fitted.network):
            write(fitted, made, facts)
        addition.write(fitted.network, made / addition.FOLDER, fitted.encoder.reference.partition(":")[2])
        files.write_text(made / "README.md", card)
        _check(fitted, made, inputs)
        if place.exists():
            shutil.rmtree(place)
        made.rename(place)
    except (OSError, SafetensorError) as error:  # from the library of origin, which writes some folders itself
        raise files.unwritten(place, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(fitted: Fitted, place: Path, facts: Mapping[str, Any]) -> None:
    network = fitted.network
    owner: nn.Module = network.whole if network.whole is not None else network
    state = {name: value.detach().clone().contiguous() for name, value in owner.state_dict().items()}
    files.write_bytes(place / "model.safetensors", serialised(state, {"format": "pt"}))
    files.write_json(place / "config.json", _config(fitted, facts))


def members(place: Path) -> list[Path]:
    """The model folders of which the folder `place` is the mean; none where it is a single model."""
    config = files.read_json(place / "config.json") if (place / "config.json").is_file() else {}
    return [place / str(name) for name in config["members"]] if config.get("library") == ENSEMBLE else []


def load(place: Path) -> Fitted:
    """The model of a folder that `save` wrote. Raises `EncoderError` for anything else."""
    if not (place / "config.json").is_file():
        raise EncoderError(f"{place} is not a model folder: it has no config.json; give the model folder of a run.")
    config = files.read_json(place / "config.json")
    if config.get("library") == "sterna":
        return _load_own(place, config)
    encoder: Encoder = folder.module("encoders", "local").load(str(place))
    if encoder.words is not None and _tags(config):
        encoder = encoder.words()
    encoder = addition.equipped(encoder, place / addition.FOLDER)
    return Fitted(encoder.network, encoder, encoder.source_classes, _task(place, config))


def _task(place: Path, config: Mapping[str, Any]) -> str:
    """What the head answers: as it was noted, else as the library of origin says it."""
    given = _noted(place, config).get("task")
    kinds = {"regression": "regress", "multi_label_classification": "multilabel"}
    return str(given or ("tag" if _tags(config) else kinds.get(str(config.get("problem_type")), "classify")))


def facts(place: Path) -> Mapping[str, Any]:
    """What `save` was told to write down beside a model; empty for a folder that sterna did not write."""
    named = place / "config.json"
    return _noted(place, files.read_json(named) if named.is_file() else {})


def _noted(place: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    own = place / "sterna.json"
    noted = files.read_json(own) if own.is_file() else config
    found: Mapping[str, Any] = noted.get("sterna") or (noted if own.is_file() else {})
    return found


def size(fitted: Fitted) -> int:
    """Bytes of the weights as `save` writes them, measured by writing them to a folder that goes again."""
    with tempfile.TemporaryDirectory() as made:
        write = fitted.encoder.write or _write
        write(fitted, Path(made), {})
        return sum(one.stat().st_size for one in Path(made).rglob("*.safetensors"))


def _tags(config: Mapping[str, Any]) -> bool:
    """Whether a folder of transformers holds a classifier of words."""
    return any(str(name).endswith("ForTokenClassification") for name in config.get("architectures") or ())


def _load_own(place: Path, config: Mapping[str, Any]) -> Fitted:
    """A head on hand-made features: the features come from their encoder, the head from the file."""
    origin, _, name = str(config["architecture"]).partition(":")
    module = folder.module("encoders", origin)
    # What has statistics of its training rows keeps them in the config.
    encoder: Encoder = module.rebuilt(config) if hasattr(module, "rebuilt") else module.load(name)
    classes = tuple(config["label_names"])
    with torch.random.fork_rng():
        network = encoder.network.with_head(len(classes), {})
    network.load_state_dict(load_file(str(place / "model.safetensors")))
    return Fitted(network.eval(), encoder, classes, _task(place, config))


def _config(fitted: Fitted, facts: Mapping[str, Any]) -> dict[str, Any]:
    classes = list(fitted.classes)
    config = dict(fitted.encoder.config)
    config.update(num_classes=len(classes), label_names=classes, sterna=dict(facts))
    if "pretrained_cfg" in config:
        config["pretrained_cfg"] = {**config["pretrained_cfg"], "num_classes": len(classes), "label_names": classes}
    return config


@torch.no_grad()
def _check(fitted: Fitted, made: Path, inputs: Tensor) -> None:
    reopened = load(made)
    difference = deviation(reopened.network.eval()(inputs).logits, fitted.network(inputs).logits)
    agreed = (reopened.classes, reopened.task) == (fitted.classes, fitted.task)
    if not agreed or not difference <= TOLERANCE:
        raise EncoderError(
            f"the saved model does not give the fitted network's answers back (relative difference {difference:.2g}, "
            f"allowed {TOLERANCE:g}); nothing was written."
        )
