"""The frozen records that cross borders between the parts of sterna.

Nothing here computes. Parts of the package agree on these shapes and on nothing else, so a method can be read, tested
and replaced knowing only this page. Torch is named for type checkers alone: listing methods needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from sterna.network import Network

# What a label is, is the task's to say: (n,) int64 class numbers for classify, (n, k) uint8 for multilabel, (n, k)
# float64 for regress, and for tag (n,) object, an int64 array for each item with one tag number for each of its words;
# of several tasks see `maths.blocks`.
Labels = np.ndarray


class Items(Protocol):
    """The raw things of a data set, opened one at a time and never all held in memory unless they came so."""

    @property
    def modality(self) -> str:
        """The kind of item: image, vector, text, words, audio or row; an encoder states which it prepares."""

    @property
    def in_memory(self) -> bool:
        """True where reading costs nothing worth a worker process."""

    @property
    def lengths(self) -> np.ndarray | None:
        """(n,) int64: how long each item is, in letters, words or samples; None where all are alike.

        Items of like length are put into one batch. For words it is the exact number of words.
        """

    def __len__(self) -> int: ...

    def read(self, index: int, hint: int) -> Any:
        """One raw item.

        image: an upright RGB `PIL.Image`, decoded no smaller than `hint` px on its short side. text: `str`, or a pair
        of them. words: a tuple of `str`. audio: a `Sound`. row: a tuple with a `float`, a `str` or None (missing) for
        each of `items.columns`. vector: (d,) float32.
        """

    def digest(self, index: int) -> str:
        """A digest of the item's bytes: same bytes, same digest, on every machine."""

    def name(self, index: int) -> str:
        """What a person calls the item: its path, or `row 12`."""


@dataclass(frozen=True)
class Sound:
    """A recording, mono."""

    samples: np.ndarray  # (s,) float32 in [-1, 1]
    rate: int  # samples a second


@dataclass(frozen=True)
class Column:
    """A column of a table of rows."""

    name: str
    kind: Literal["numeric", "category"]


@dataclass(frozen=True)
class Columns:
    """Which columns of a table file mean what, as the person said it; what is empty is found by looking, and stated."""

    text: tuple[str, ...] = ()  # one column, or two for pairs
    label: tuple[str, ...] = ()  # one column, or several for several values or labels
    group: str = ""  # examples that share a value stay in one part of a split
    domain: str = ""  # where examples come from: hospital, speaker, year
    task: str = ""  # classify, multilabel, regress or tag


@dataclass(frozen=True)
class Table:
    """A selection of the items of one data set, with their labels.

    All parts of one data set (train, validation, test) share the same `items`, so activations computed once for the
    items serve every part and every seed. `labels` is empty (length 0) where a part is unlabelled or its labels are
    sealed.
    """

    items: Items
    rows: np.ndarray  # (m,) int64, positions in `items`
    labels: Labels  # (m, ...) or (0,)
    classes: tuple[str, ...]  # names of classes, labels, tags, or of the columns of numbers
    task: str = "classify"  # the file of `tasks/` that says what a label is

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def by_word(self) -> bool:
        """Whether each word of an item has an answer of its own."""
        return self.items.modality == "words"

    def take(self, positions: np.ndarray) -> Table:
        """The sub-selection at `positions` of this table (not of `items`)."""
        labels = self.labels[positions] if len(self.labels) else self.labels
        return replace(self, rows=self.rows[positions], labels=labels)


@dataclass(frozen=True)
class Finding:
    """One thing the data checks saw, in a sentence a person can act on."""

    kind: str  # "unreadable", "duplicate", "imbalance", ...
    sentence: str
    items: tuple[str, ...] = ()  # names of the items concerned


@dataclass(frozen=True)
class Loaded:
    """A data set as read and checked, before it is split."""

    table: Table
    groups: np.ndarray  # (n,) int64; examples that share a number (duplicates, given groups) stay in one part
    parts: np.ndarray  # (n,) of "", "train", "validation", "test": the part a folder layout or column assigns
    findings: tuple[Finding, ...]
    origin: str  # what the person typed
    domains: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<U1"))  # (n,) names, or (0,) without domains
    unlabelled: Table | None = None  # examples of the target without labels, where there are any
    crossed: bool = False  # True: they are the held-out part, of another domain than the rest, which is a source's
    blind: bool = False  # True: the labels of the test part are not known, and those of the table fill their places
    model: Encoder | None = None  # the saved model that is adapted, with its own head, in place of a source


class Sealed:
    """Test labels. `score` is the only module that may call `open_for_scoring`; a test reads the code to hold that."""

    __slots__ = ("_labels",)

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def open_for_scoring(self) -> Labels:
        """The labels themselves."""
        return self._labels


@dataclass(frozen=True)
class Split:
    """Which rows of a loaded table go where; saved with every run."""

    train: np.ndarray  # (n_train,) int64 positions in the table
    validation: np.ndarray
    test: np.ndarray
    seed: int


@dataclass(frozen=True)
class Training:
    """All that a method may see. There is no field for test labels, so none can leak.

    Absence is an empty part, never a sentinel label.
    """

    target: Table
    validation: Table
    unlabelled: Table | None = None  # examples of the target without labels, where there are any
    crossed: bool = False  # True: the labelled ones are of another domain, a source's

    @property
    def classes(self) -> tuple[str, ...]:
        return self.target.classes


@dataclass(frozen=True)
class Batch:
    """One mini-batch, ready for the network."""

    inputs: Tensor  # (b, ...) what the first moving stage takes
    labels: Tensor  # (b,) int64 class numbers, or (b, k) float32: soft labels, several labels, or values
    weights: Tensor  # (b,) float32, mean 1 over a data set without weighting
    mask: Tensor | None = None  # (b, t) bool where labels are (b, t): which words carry one
    places: Tensor | None = None  # (b,) int64: positions in the part of those examples, where a term may remember them
    items: Tensor | None = None  # (n,) int64, rising: whose words examples are, where whole items have labels too

    # A loss never meets a mask: before it is called, words that carry a label have become examples of their own, with
    # features (n, d), logits (n, k), labels (n,) and weights (n,). So every loss works on words as it does on items.


@dataclass(frozen=True)
class Output:
    """What a network makes of a batch."""

    features: Tensor  # (b, d) what the head reads; (b, t, d) where each word has its own
    logits: Tensor  # (b, k) or (b, t, k)
    stages: Mapping[str, Tensor] = field(default_factory=dict)  # outputs of the stages a loss asked for, by name
    mask: Tensor | None = None  # (b, t) bool: which words there are; None where items have one answer each


@dataclass(frozen=True)
class Seen:
    """A batch and what the network made of it."""

    batch: Batch
    output: Output


@dataclass(frozen=True)
class Step:
    """What a loss term is given at each optimizer step."""

    labelled: Seen  # of the target, or of a source whose classes it shares
    network: Network
    progress: float  # 0 at the first step of the phase, 1 at the last
    unlabelled: Seen | None = None  # of the target, any number of examples; the zeros in place of labels mean nothing
    strong: Seen | None = None  # the same examples in the same order, strongly augmented, for losses that need "views"
    cut: int = 0  # the inputs of all batches are what stage `cut` takes: `network.suffix(cut)` can be run again


@dataclass(frozen=True)
class Taught:
    """What a network that stands still says of each training example, as it comes, without augmentation."""

    features: Tensor  # (n, d) float32, what its head reads
    head: Tensor | None  # (z, d) weights of its head, None where it has none
    bias: Tensor | None  # (z,)
    classes: tuple[str, ...] = ()  # names of the head's rows; for a teacher those of the target, in its order
    maps: tuple[Tensor, ...] = ()  # (n, h, w) float32, how strong its stages are where; coarsest first, where asked for


@dataclass(frozen=True)
class Setting:
    """What a loss may know before training starts."""

    network: Network  # at its start; a term that anchors to it must clone what it keeps
    class_counts: np.ndarray  # (k,) int64 training examples of each class; for multilabel, those that have the label
    classes: tuple[str, ...]
    count: int = 0  # training examples (words, for tag)
    unlabelled: int = 0  # examples of the unlabelled part
    cut: int = 0  # the lowest that a phase has: stages below it never move
    teacher: Taught | None = None  # for losses that need "teacher" or "maps"
    source: Taught | None = None  # the encoder before training, with its own head, for losses that need "source"
    sample: Callable[[], Iterator[Batch]] | None = None  # clean training examples as stage `cut` takes them, once
    task: str = "classify"  # the file of `tasks/` that says what a label is


Term = Callable[[Step], "Tensor"]  # a built loss: one scalar; an `nn.Module` when it has weights of its own


class Added(Protocol):
    """Layers that were added to a network; everything under its head but them stands still."""

    what: str  # in words
    count: int  # of their weights
    plain: frozenset[int]  # the identities of those that are never decayed


class Adapter(Protocol):
    """The options of layers that are added for a phase; frozen and hashable."""

    lasting: ClassVar[bool]  # True: they cannot become part of the plain weights, and stay after the phase

    def add(self, network: Network, cut: int, twin: Network | None) -> Added:
        """Put them into the stages from `cut` on, and into those of a twin that shares the weights; draws their first
        weights from torch's global generator: fence it. Raises `TrainingError` where none fits.
        """


@dataclass(frozen=True)
class Phase:
    """One stretch of training: which stages move, and how.

    A policy in `tune/` is a list of these. The stages below `cut` are frozen: their activations come from the store
    and only `network.suffix(cut)` is trained.
    """

    name: str
    cut: int  # the number of frozen stages; `depth` means that only the head moves
    # logistic: the head alone, to its optimum; interpolation: between the weights before the first descent and now
    solver: Literal["descent", "logistic", "interpolation"] = "descent"
    rate: float = 1.0  # factor on the optimizer's learning rate for the topmost moving stage
    layer_decay: float = 1.0  # each stage further down learns at this multiple of the one above it
    epochs: int | None = None  # None: the schedule's
    patience: int | None = None  # None: the schedule's
    batch_norm: bool = False  # True: BatchNorm statistics of moving stages follow the target data
    loss: str = ""  # an objective, in the grammar, that takes the place of the run's; such a phase is not judged
    steps: int | None = None  # optimizer steps, at most; epochs are then no more than they take
    pace: float = 1.0  # a further factor on the rate of the stages, and not of the head
    only: Literal["", "bias", "norm"] = ""  # of the moving stages, biases or the scale and shift of norms alone move
    adapter: Adapter | None = None  # layers of few weights that move in place of those of the moving stages
    # A soup: a descent from one start at each of these factors on `rate`, and the average of those that help.
    rates: tuple[float, ...] = ()
    stochastic: float = 0.0  # probability that a channel of BatchNorm is normalised as in evaluation (StochNorm)
    relative: int = 0  # batches before each epoch whose relative gradient norms scale the rates of stages; 0: off
    memory: float = 0.9  # share of what earlier epochs said of these that is kept
    single: bool = False  # the stage with the largest alone moves
    freezing: float = 0.0  # percentile of changes of gradients under which low stages freeze after an epoch; 0: off


@dataclass(frozen=True)
class Augment:
    """A built augmentation, split by where it acts. Absent parts are None."""

    crop: Callable[[Any, tuple[int, int]], Any] | None = None  # raw picture, (height, width) -> framed picture
    pixels: Callable[[Any], Any] | None = None  # framed picture -> framed picture of the same size
    mix: Callable[[Batch, int], Batch] | None = None  # batch, number of classes -> batch with soft labels
    text: Callable[[str], str] | None = None  # a text, or each text of a pair, or each word of a row of words
    row: Callable[[tuple], tuple] | None = None  # the values of a row
    sound: Callable[[Sound], Sound] | None = None
    written: str = "none"  # in the grammar, for keys and results

    # All but `mix` draw from torch's global generator; whoever calls them fences it.

    @property
    def single(self) -> bool:
        """Whether anything acts on single items."""
        return any((self.crop, self.pixels, self.text, self.row, self.sound))


class Preparation(Protocol):
    """From a raw item to what the network takes, in two halves: one an item, one a batch.

    It comes from the encoder's own config and travels with the model. Its `repr` names everything that changes its
    output, because cache keys are made of it.
    """

    @property
    def modality(self) -> str:
        """The `Items.modality` it takes."""

    @property
    def ragged(self) -> bool:
        """True where frames of different items have different lengths; they are then packed (see `sequences`)."""

    @property
    def hint(self) -> int:
        """Pixels: the smallest short side at which an item may be decoded without loss for this preparation."""

    def frame(self, item: Any, augment: Augment | None = None) -> np.ndarray:
        """One raw item -> an array, uint8 (h, w, c) for images; of fixed shape unless ragged. Runs in workers."""

    def tensor(self, frames: Tensor) -> Tensor:
        """Stacked frames (b, h, w, c) uint8 -> network input (b, c, h, w) float32, normalised."""


@dataclass(frozen=True)
class Encoder:
    """Pretrained weights as stages, with the preparation they expect."""

    reference: str  # as typed: "timm:resnet50.a1_in1k"
    network: Network  # with the source head, when there is one
    preparation: Preparation
    source_classes: tuple[str, ...]  # names of the source head's rows; () when unknown or headless
    digest: str  # of architecture and weights
    config: Mapping[str, Any]  # what the artifact writes so that the library of origin can open it
    fresh: Callable[[], Network]  # the same architecture with random weights, from the global generator: fence it
    pretrained: bool = True  # False: features made by hand, a floor
    notes: tuple[str, ...] = ()  # what was inferred, said to the person
    pace: float = 1.0  # factor on the learning rate of pretrained stages
    head_pace: float = 1.0  # factor on that of the head: small features ask for large weights
    words: Callable[[], Encoder] | None = None  # the twin whose features are (b, t, d), one for each word, for tagging
    pairs: Callable[[], Encoder] | None = None  # the twin that reads the two texts of an item apart
    fitted: Callable[[Table], Encoder] | None = None  # with statistics of these training rows, where it has any
    describe: Callable[[Sequence[str]], np.ndarray] | None = None  # texts -> (n, d) in the space of its features
    write: Callable[[Fitted, Path, Mapping[str, Any]], None] | None = (
        None  # writes the model folder as its library does
    )


@dataclass(frozen=True)
class Teacher:
    """An encoder to learn from, with a head for the target's classes where it knows them."""

    encoder: Encoder
    head: Tensor | None  # (k, d) for the target's classes, in their order
    bias: Tensor | None  # (k,)
    data: str = ""  # digest of the data it was fitted to, where its folder says so
    held: str = ""  # digest of those of their items that it was held out from


@dataclass(frozen=True)
class Fitted:
    """A trained network with all that is needed to use it without the run that made it."""

    network: Network
    encoder: Any  # the `Encoder` it started from
    classes: tuple[str, ...]
    task: str = "classify"
