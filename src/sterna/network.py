"""Network = a chain of named stages + a linear head.

`stages[i]` takes the output of `stages[i-1]`; the last stage gives features (b, d); `head` turns them into logits.
Whatever lies under the lowest moving stage is a fixed function of the input, so `prefix(cut)` can be computed once and
`suffix(cut)` trained on its outputs. All three share the same modules: training the suffix trains the network.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sterna import sequences
from sterna.contracts import Linear
from sterna.errors import EncoderError
from sterna.maths.seeds import derive
from sterna.records import Output

TOLERANCE = 1e-4  # relative difference between a chain and its model; the same operations in the same order give 0
Found = TypeVar("Found")


class Stage(nn.Module):
    """A named step of a chain: parts of a library's model and the way they are called.

    `call` receives the parts in order and the input. It must be a module-level function (or a `functools.partial` of
    one), so that networks can be copied and sent to other processes.
    """

    def __init__(self, parts: Sequence[nn.Module], call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.call = call

    def forward(self, inputs: Tensor) -> Tensor:
        return self.call(self.parts, inputs)


def in_sequence(parts: Iterable[nn.Module], inputs: Tensor) -> Tensor:
    """The usual way to call a stage: one part after the other."""
    for part in parts:
        inputs = part(inputs)
    return inputs


class Network(nn.Module):
    """A chain of stages and a head; may hold the library's own model that shares these modules.

    Args:
        stages: the stages by name, in the order in which they run; the last one gives features (b, d).
        head: features (b, d) -> logits (b, k).
        whole: the library's own model, whose modules the stages are; saved with it, a model opens without sterna.
        head_path: where `head` sits in `whole`, as a dotted name.

    A stage that does not move is in evaluation mode and takes no gradient whatever `train()` is told, so its weights,
    its BatchNorm statistics and its dropout stay exactly as they were.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        whole: nn.Module | None = None,
        head_path: str = "",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.moving: tuple[bool, ...] = (True,) * len(self.stages)
        self.batch_norm = True
        self.wanted: frozenset[str] = frozenset()  # stages whose outputs `forward` hands out
        self.head_path = head_path
        # What a phase has added to the weights, by itself: a configuration, and tensors by name (see `adapters`).
        self.added: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        # In a tuple, so that torch does not register the shared modules a second time; deepcopy keeps the sharing.
        self._whole = (whole,)

    @property
    def depth(self) -> int:
        """The number of stages; also the cut at which only the head moves."""
        return len(self.stages)

    @property
    def whole(self) -> nn.Module | None:
        return self._whole[0]

    @property
    def width(self) -> int:
        """The number of features the head reads."""
        return int(self.head.in_features)  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """The number of rows of the head: 0 for a network without a source head."""
        return int(self.head.out_features)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Output:
        kept: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            inputs = stage(inputs)
            if name in self.wanted:
                kept[name] = inputs
                inputs = inputs.clone()  # the next stage may begin with an operation in place
        features, mask = inputs, None
        if inputs.dim() == 3:  # a packed sequence: an answer for each word
            features, mask = sequences.values(inputs), sequences.mask(inputs)
        return Output(features=features, logits=self.head(features), stages=kept, mask=mask)

    def prefix(self, cut: int) -> nn.Sequential:
        """The first `cut` stages as one module, sharing weights with this network."""
        return nn.Sequential(*list(self.stages.values())[:cut])

    def suffix(self, cut: int) -> Network:
        """The stages from `cut` on, and the head, sharing weights with this network."""
        rest = Network(dict(list(self.stages.items())[cut:]), self.head)
        rest.moving = self.moving[cut:]
        rest.batch_norm = self.batch_norm
        rest.wanted = self.wanted
        return rest.train(self.training)

    def move_from(self, cut: int, batch_norm: bool = False) -> None:
        """Freeze the first `cut` stages and let the rest and the head move.

        `batch_norm`: whether the BatchNorm statistics of moving stages follow the data they see (their scale and shift
        are weights and move in any case).
        """
        if not 0 <= cut <= self.depth:
            raise EncoderError(f"cut must be in [0, {self.depth}] for this network of {self.depth} stages, got {cut}.")
        self.moving = tuple(place >= cut for place in range(self.depth))
        self.batch_norm = batch_norm
        for stage, moves in zip(self.stages.values(), self.moving, strict=True):
            stage.requires_grad_(moves)
        self.head.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        if self.whole is not None:
            self.whole.train(mode)
        super().train(mode)
        for stage, moves in zip(self.stages.values(), self.moving, strict=True):
            if not moves:
                stage.eval()
        if not self.batch_norm:
            for part in self.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def with_head(self, classes: int, rows: Mapping[int, int]) -> Network:
        """A copy of this network with a fresh linear head for `classes` classes.

        Args:
            classes: number of target classes.
            rows: target class -> row of the present head to start from (where the class names agree).

        The fresh rows are drawn from the global generator: fence it.
        """
        twin = copy.deepcopy(self)
        old: nn.Linear = twin.head  # type: ignore[assignment]
        new = nn.Linear(self.width, classes).to(old.weight)
        with torch.no_grad():
            for target, place in rows.items():
                new.weight[target] = old.weight[place]
                new.bias[target] = 0 if old.bias is None else old.bias[place]
        twin.set_head(new)
        return twin

    def set_weights(self, head: Linear) -> None:
        """Give the head these weights; a head without a bias takes none."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))  # type: ignore[union-attr,operator]
            if self.head.bias is not None:
                self.head.bias.copy_(torch.from_numpy(head.bias))  # type: ignore[union-attr,operator]

    def set_head(self, head: nn.Module) -> None:
        """Put `head` in place, in the library's own model as well."""
        self.head = head
        if self.whole is not None and self.head_path:
            owner, _, leaf = self.head_path.rpartition(".")
            setattr(self.whole.get_submodule(owner), leaf, head)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Moves and casts reach the library's own model too: tensors that lie in no stage would stay behind."""
        super()._apply(fn, recurse)
        if self.whole is not None:
            self.whole._apply(fn, recurse)
        return self


def matching_rows(target: Sequence[str], source: Sequence[str]) -> dict[int, int]:
    """Which row of a source head each target class may start from: the same name, or one of its synonyms.

    Source names may list synonyms after commas, as ImageNet's do ("tench, Tinca tinca"); case, spaces, hyphens and
    underscores do not count. A name that fits several source rows fits none.
    """
    places: dict[str, set[int]] = {}
    for place, name in enumerate(source):
        for synonym in name.split(","):
            places.setdefault(_plain(synonym), set()).add(place)
    found = {number: places.get(_plain(name), set()) for number, name in enumerate(target)}
    return {number: next(iter(rows)) for number, rows in found.items() if len(rows) == 1}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def empty_head(width: int) -> nn.Linear:
    """A head without rows, for a network that comes without one: features are all it gives, until `with_head`."""
    head = nn.utils.skip_init(nn.Linear, width, 1)
    head.weight, head.bias = nn.Parameter(head.weight.detach()[:0]), nn.Parameter(head.bias.detach()[:0])
    head.out_features = 0
    return head


def digest(architecture: str, state: Mapping[str, Tensor]) -> str:
    """A digest of an architecture and its weights: the same words, names, shapes, kinds and bytes, the same digest."""
    found = hashlib.blake2b(architecture.encode(), digest_size=16)
    for name, value in sorted(state.items()):
        value = value.detach().cpu().contiguous()
        found.update(f"\x1f{name}:{value.dtype}:{tuple(value.shape)}\x1f".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def copied_state(network: nn.Module) -> dict[str, Tensor]:
    """A detached copy of all weights and statistics, by name."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def deviation(got: Tensor, wanted: Tensor) -> float:
    """Relative difference |got - wanted| / |wanted| in the Frobenius norm: how far a split is from the whole."""
    wanted = wanted.float()
    scale = wanted.detach().norm().item() or 1.0
    value = (got.detach().float() - wanted.detach()).norm().item() / scale
    return value if value == value else float("inf")


@torch.no_grad()
def verified(
    network: Network, whole: Callable[[Tensor], Tensor], inputs: Tensor, tolerance: float = TOLERANCE
) -> float:
    """The deviation between the chain and the library's own forward pass, in evaluation mode.

    Raises `EncoderError` when it exceeds `tolerance`; a caller falls back to coarser stages that agree.
    """
    network.eval()
    value = deviation(network(inputs).logits, whole(inputs))
    if not value <= tolerance:
        raise EncoderError(f"the stages do not reproduce the network: relative difference {value:.2g} > {tolerance:g}")
    return value


def sound(network: Network, bare: nn.Module, inputs: Tensor) -> bool:
    """Whether a chain is the model it was made from.

    - Its features and logits equal the model's in evaluation mode.
    - Its features equal the model's in training mode under the same random numbers: dropout and stochastic depth have
      stayed where they were.
    - Each stage is a function of its input alone, also after other data have gone through. Prefix and suffix run the
      same stages in the same order, so this makes them equal to the whole at every cut.
    - Every weight that the features depend on lies in exactly one stage.

    Args:
        bare: `network.whole` with an identity in place of its classifier, sharing its modules.
        inputs: (b, ...) real input with b >= 2.
    """
    checks = (
        partial(_equals, network, bare, inputs),
        partial(_pure, list(network.stages.values()), inputs),
        partial(_trains_alike, network, bare, inputs),
        partial(_complete, network, bare, inputs),
    )
    return all(attempt(check) for check in checks)


@torch.no_grad()
def _equals(network: Network, bare: nn.Module, inputs: Tensor) -> bool:
    network.eval()
    bare.eval()
    output = network(inputs.clone())
    features = in_sequence(network.stages.values(), inputs.clone())  # packed still, where each word has its own
    near = deviation(features, bare(inputs.clone())) <= TOLERANCE
    if not network.classes or network.whole is None:
        return near
    return near and deviation(output.logits, network.whole(inputs.clone())) <= TOLERANCE


@torch.no_grad()
def _pure(stages: Sequence[nn.Module], inputs: Tensor) -> bool:
    """Whether each stage depends on its input alone and not on what the others have left behind."""
    values = [inputs]
    for stage in stages:
        values.append(stage(values[-1].clone()))
    in_sequence(stages, 0.5 * inputs[:1] if inputs.is_floating_point() else inputs[:1])
    replayed = [stage(value.clone()) for stage, value in reversed(list(zip(stages, values[:-1], strict=True)))]
    return all(deviation(got, wanted) <= TOLERANCE for got, wanted in zip(reversed(replayed), values[1:], strict=True))


@torch.no_grad()
def _trains_alike(network: Network, bare: nn.Module, inputs: Tensor) -> bool:
    """Whether both draw the same masks in training mode."""
    stages = list(network.stages.values())
    values = []
    for run, modules in ((bare, [bare]), (partial(in_sequence, stages), stages)):
        with in_training(modules):
            values.append(run(inputs.clone()))
    return deviation(values[1], values[0]) <= TOLERANCE


def device() -> torch.device:
    """Where networks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes in the calling thread alone: for many short passes, and for their timing.

    Several threads wait for one another in each layer of each pass; on a busy machine that took 30 s in place of 4.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def in_training(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Modules in training mode, with the same random numbers each time; in evaluation mode afterwards.

    BatchNorm stays as it is: its statistics must not move.
    """
    for module in modules:
        module.train()
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive("chain", "masks"))
            yield
    finally:
        for module in modules:
            module.eval()


def _complete(network: Network, bare: nn.Module, inputs: Tensor) -> bool:
    """Whether every weight that the features depend on lies in one stage, and none in two."""
    owned = [id(weight) for part in (*network.stages.values(), network.head) for weight in part.parameters()]
    left = [weight for weight in bare.parameters() if id(weight) not in owned and weight.requires_grad]
    return len(owned) == len(set(owned)) and not any(depends_on(bare, left, inputs) if left else [])


def depends_on(call: Callable[[Tensor], Tensor], weights: Sequence[Tensor], inputs: Tensor) -> list[bool]:
    """Which of the weights the output depends on; a weight that takes no gradient counts as one that matters."""
    moving = [weight for weight in weights if weight.requires_grad]
    if not moving:
        return [True] * len(weights)
    with torch.enable_grad():
        output = call(inputs.clone())
        found = torch.autograd.grad(output.sum(), moving, allow_unused=True) if output.requires_grad else ()
    reached = {id(weight) for weight, gradient in zip(moving, found, strict=False) if gradient is not None}
    return [not weight.requires_grad or id(weight) in reached for weight in weights]


def attempt(work: Callable[[], Found]) -> Found | None:
    """What `work` gives, or None where it fails: a library's code may raise anything when parts of it are missing."""
    try:
        return work()
    except Exception:
        return None


def no_op(parts: Any, inputs: Tensor) -> Tensor:
    """A stage that does nothing: for encoders whose features are made by their preparation."""
    return inputs
