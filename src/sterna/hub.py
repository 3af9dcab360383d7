"""Model folders in the layout of the Hugging Face hub: found, fetched, opened and written.

Nothing in a folder is ever run: weights are read from safetensors, or from torch files as plain tensors, and code that
comes with a model is refused.
"""

from __future__ import annotations

import copy
import glob
import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sterna.errors import EncoderError
from sterna.maths.seeds import derive
from sterna.network import attempt

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
UNWANTED = ("onnx/*", "openvino/*", "*.msgpack", "*.h5", "runs/*", "original/*")
SAFE, OLD = "model*.safetensors", "pytorch_model*.bin"  # files of weights, of which the old ones may hold more
VOCABULARIES = ("vocab.*", "*.model")
PATIENCE = 3.0  # seconds to wait for the hub before it counts as out of reach


def folder(name: str, origin: str) -> Path:
    """The folder `name`, or that of the model `name` in the cache of the hub, fetched where it is not there yet.

    Args:
        name: a path, or the name of a model on the hub.
        origin: what stands before the colon in the reference, for messages.

    Raises `EncoderError` when there is neither.
    """
    place = Path(name).expanduser()
    if place.is_dir():
        return place
    try:
        found = Path(huggingface_hub.snapshot_download(name, local_files_only=True))
        if (found / "config.json").is_file() and _has_weights(found):
            return found
    except HFValidationError as error:
        raise EncoderError(
            f"there is no folder {place}, and it cannot be the name of a model on the hub; give {origin}:FOLDER or a "
            f"name such as {origin}:bert-base-uncased."
        ) from error
    except LocalEntryNotFoundError:
        pass
    return _fetched(name, origin)


def _fetched(name: str, origin: str) -> Path:
    if not _reachable():
        raise EncoderError(
            f"{origin}:{name} is neither a folder nor in the cache of the hub, and {_host()} cannot be reached; on a "
            f"machine with a connection save the model's folder, bring it here and give {origin}:FOLDER."
        )
    try:
        with quiet():
            names = wanted(huggingface_hub.list_repo_files(name))
            place = Path(huggingface_hub.snapshot_download(name, allow_patterns=[glob.escape(one) for one in names]))
    except (HfHubHTTPError, OSError) as error:
        raise EncoderError(
            f"{origin}:{name} could not be fetched ({str(error).splitlines()[0]}); check the name on {_host()}."
        ) from error
    return place


def wanted(names: Iterable[str]) -> list[str]:
    """Of the files of a repository those to fetch: `pytorch_model.bin` only where there are no safetensors beside it.

    Args:
        names: paths with slashes, as the hub lists them.
    """
    kept = [PurePosixPath(name) for name in names if not _fits(name, UNWANTED)]
    safe = {one.parent for one in kept if fnmatchcase(one.name, SAFE)}
    old = {one for one in kept if fnmatchcase(one.name, OLD) and one.parent not in safe}
    return [str(one) for one in kept if _fits(str(one), WANTED) or one in old]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _has_weights(place: Path) -> bool:
    return any(place.glob(SAFE)) or any(place.glob(OLD))


def _host() -> str:
    return str(urlsplit(constants.ENDPOINT).hostname)


def _reachable() -> bool:
    """Whether the hub answers; asked once and shortly, because its client tries again for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.create_connection((_host(), urlsplit(constants.ENDPOINT).port or 443), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries show no progress and no warnings inside; what matters is said through notes and errors."""
    spoken = transformers.utils.logging.get_verbosity()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    client = logging.getLogger("huggingface_hub")
    level = client.level
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(spoken)
        client.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


@dataclass(frozen=True)
class Opened:
    """A model and which of its weights the folder does not have; those are random."""

    model: nn.Module
    missing: frozenset[str]


def config(place: Path) -> Any:
    """The configuration in a folder. Raises `EncoderError` when it is absent or of a kind that is not known."""
    if not (place / "config.json").is_file():
        raise EncoderError(f"{place} has no config.json; give the folder of a transformers model.")
    try:
        return transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise EncoderError(
            f"{place / 'config.json'} is not one that transformers {transformers.__version__} knows "
            f"({str(error).splitlines()[0]}); models that bring their own code are not run."
        ) from error


def pretrained(auto: Any, place: Path, settings: Any) -> Opened:
    """The model of a folder.

    Args:
        auto: a class of transformers such as `AutoModel`.
        settings: its configuration, from `config`.

    Raises `EncoderError` when there are no weights, when they are damaged, or when they do not fit the configuration.
    """
    try:
        with quiet(), torch.random.fork_rng():
            torch.manual_seed(derive("hub"))
            model, report = auto.from_pretrained(
                place,
                config=settings,
                output_loading_info=True,
                weights_only=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
            )
            for name in attempt(partial(_held, model)) or ():  # loading makes all of them move
                model.get_parameter(name).requires_grad_(False)
    except (OSError, SafetensorError, EOFError) as error:
        raise EncoderError(
            f"the weights in {place} are absent or damaged ({_line(error)}); it must hold model.safetensors."
        ) from error
    except Exception as error:  # refusals of pickled code, shapes that do not fit, unknown kinds: no common class
        raise EncoderError(f"the weights in {place} do not fit its config.json ({_line(error)}).") from error
    prefix = f"{model.base_model_prefix}."
    inside = {prefix + name for name, _ in getattr(model, model.base_model_prefix, nn.Module()).named_parameters()}
    lost = sorted(name for name in report["missing_keys"] if name in inside and "pooler" not in name)
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise EncoderError(f"the weights in {place} do not fit its config.json: they lack {', '.join(lost[:3])}{more}.")
    return Opened(_fixed(model).eval(), frozenset(report["missing_keys"]))


def _held(model: Any) -> list[str]:
    """The weights that the library keeps from moving when it builds a model of this kind, by name."""
    with torch.device("meta"):
        bare = type(model)(copy.deepcopy(model.config))
    return [name for name, weight in bare.named_parameters() if not weight.requires_grad]


def _fixed(model: nn.Module) -> nn.Module:
    """A model whose weights that the library keeps from moving (Whisper's sinusoids) are buffers, which nothing moves.

    As weights they would move with their stage. They go by the same names into the same files.
    """
    for part in model.modules():
        for name, weight in [*part.named_parameters(recurse=False)]:
            if not weight.requires_grad:
                delattr(part, name)
                part.register_buffer(name, weight.detach())
    return model


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def fresh(auto: Any, settings: Any) -> nn.Module:
    """The same architecture with random weights, drawn from the global generator: fence it."""
    with quiet():
        model: nn.Module = auto.from_config(settings, trust_remote_code=False)
    return _fixed(model.float()).eval()


def tokenizer(place: Path) -> bytes:
    """The `tokenizer.json` of a folder, made from older files where it is not there."""
    if (place / "tokenizer.json").is_file():
        return (place / "tokenizer.json").read_bytes()
    try:
        if not any(file for pattern in VOCABULARIES for file in place.glob(pattern)):
            raise FileNotFoundError("it has no vocabulary")  # the library would go on with an empty one
        with quiet():
            made = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
        return str(made.backend_tokenizer.to_str()).encode()
    except Exception as error:  # each kind of tokenizer fails in its own way
        raise EncoderError(
            f"{place} has no tokenizer.json and none can be made from its files ({_line(error)}); on a machine that "
            "has the model, AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER) writes one."
        ) from error


def read(file: Path) -> Any:
    """The JSON document in a file, {} where there is none. Raises `EncoderError` when it is damaged."""
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{file} is not JSON ({error}); fetch it again.") from error


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file beside it. Raises `EncoderError` for anything else."""
    try:
        if file.is_file():
            return load_file(str(file))
        found = torch.load(file.with_name("pytorch_model.bin"), map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no common class for damage and for contents it will not run
        raise EncoderError(f"{file} is absent, damaged or holds more than tensors; fetch it again.") from error
    return dict(found)


def write_weights(model: nn.Module, file: Path) -> None:
    """All weights of a model, as safetensors."""
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(state, str(file), metadata={"format": "pt"})
