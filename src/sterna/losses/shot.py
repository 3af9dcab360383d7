"""Source hypothesis transfer: features move until a frozen head is sure of each target example and of none in common.

Paper: Liang et al. 2020, "Do We Really Need to Access Source Data? Source Hypothesis Transfer for Unsupervised Domain
Adaptation" (arXiv 2002.08546), section 3.

Equation: weight * (mean_t H(p) - H(mean_t p) + beta mean_t -ln p_y), p = softmax of the head's answers with the head's
weights held constant. y is the class whose centroid has the largest cosine with the features of the example. Centroids
are means of the features of all target examples seen so far, weighted by their answers p; then, once more, plain means
over the examples whose nearest such centroid it is. A class that no example is nearest to has no part in the second.

It needs no example of the source: start from a network that has learnt the source, and use it alone. The labelled
examples of a step are ignored. Features and answers are kept by place, as each example was last seen; the centroids are
made anew whenever as many examples have gone by as were known the last time, so once an epoch after the first. The
paper instead runs over the whole target before each epoch. Examples take the class of the nearest centroid as they are
now. Options of the paper's source training (label smoothing, weight normalisation) are those of other methods.

When not to use: where the shares of the classes in the target are far from equal, which the second part of the equation
asks for; where classes are missing in the target; where the source network is near chance on it: what is wrong at the
start is learnt. The memory takes 4 (d + k) bytes for each unlabelled example.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary
from sterna.errors import TrainingError
from sterna.maths import memory
from sterna.records import Seen, Setting, Step
from sterna.spec import Range, method, option


@method
class SHOT:
    """How much each part counts."""

    weight: float = option(1.0, "factor on the term", Range(0))
    diversity: float = option(1.0, "factor on the entropy of the mean answer (the paper's 1)", Range(0))
    beta: float = option(0.3, "factor on the cross-entropy with the classes of centroids (the paper's 0.3)", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        width, classes = setting.network.width, len(setting.classes)
        many = setting.unlabelled if self.beta else 0
        what = f"a memory of {many:,} examples with {width:,} features and {classes:,} answers"
        # float32: the features once; the answers, and while centroids are made two tables like them
        memory.check("shot", what, many * (width + 3 * classes) / 2, "type shot(beta=0), which keeps none")
        return Built(self, many, width, classes).to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar. Its memory survives in a checkpoint."""

    features: Tensor  # (n, d) of each unlabelled example as it was last seen; zeros before
    answers: Tensor  # (n, k)
    known: Tensor  # (n,) bool: which have been seen
    centroids: Tensor  # (k, d)
    taken: Tensor  # (k,) bool: which classes have a centroid
    passed: Tensor  # examples since the centroids were made
    due: Tensor  # how many may pass

    def __init__(self, chosen: SHOT, many: int, width: int, classes: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.register_buffer("features", torch.zeros(many, width))
        self.register_buffer("answers", torch.zeros(many, classes))
        self.register_buffer("known", torch.zeros(many, dtype=torch.bool))
        self.register_buffer("centroids", torch.zeros(classes, width))
        self.register_buffer("taken", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("passed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("due", torch.zeros((), dtype=torch.int64))

    def forward(self, step: Step) -> Tensor:
        seen = step.unlabelled
        assert seen is not None
        features = seen.output.features
        if not len(features):
            return 0 * features.sum()
        logs = functional.log_softmax(adversary.held(step.network.head, features), dim=1)
        total = adversary.mean(adversary.entropy(logs)) - self.chosen.diversity * _entropy_of_mean(logs)
        if self.chosen.beta:
            self._remember(seen, logs.detach().exp())
            labels = _nearest(features.detach(), self.centroids, self.taken)
            total = total + self.chosen.beta * functional.nll_loss(logs, labels)
        return self.chosen.weight * total

    @torch.no_grad()
    def _remember(self, seen: Seen, answers: Tensor) -> None:
        """Take a batch into the memory, and make the centroids anew where that is due."""
        places = seen.batch.places
        if places is None or not len(self.known):
            raise TrainingError(
                "shot remembers unlabelled examples by their places, and this run gives none; type shot(beta=0)."
            )
        self.features[places], self.answers[places] = seen.output.features.detach(), answers
        self.known[places] = True
        self.passed += len(places)
        if self.passed >= self.due:
            self.centroids, self.taken = centroids(self.features, self.answers, self.known)
            self.passed.zero_()
            self.due.copy_(self.known.sum())


def centroids(features: Tensor, answers: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids (k, d) after both rounds, and (k,) bool: which classes have one.

    Args:
        features: (n, d).
        answers: (n, k) shares of the classes; zeros where unknown.
        known: (n,) bool.
    """
    soft = answers.T @ features / answers.sum(dim=0).clamp_min(adversary.TINY)[:, None]
    labels = _nearest(features, soft, answers.sum(dim=0) > 0)
    members = functional.one_hot(labels, answers.shape[1]).float() * known[:, None]
    counts = members.sum(dim=0)
    return members.T @ features / counts.clamp_min(1)[:, None], counts > 0


def _nearest(features: Tensor, middles: Tensor, taken: Tensor) -> Tensor:
    """(b,) the class whose centroid has the largest cosine; the length of the features themselves does not matter."""
    cosines = features @ functional.normalize(middles, dim=1).T
    return cosines.masked_fill(~taken, float("-inf")).argmax(dim=1)


def _entropy_of_mean(logs: Tensor) -> Tensor:
    """The entropy of the mean answer, from (b, k) logarithms, finite where a class is never answered."""
    means = torch.logsumexp(logs, dim=0) - math.log(len(logs))
    return -(means.exp() * means).sum()
