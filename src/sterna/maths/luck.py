"""What the best of several candidates is worth, without the luck of having been the best.

Paper: Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for efficient and
accurate cross-validation" (Machine Learning 107), there called BBC-CV.
"""

from __future__ import annotations

import numpy as np

DRAWS = 1000  # bootstrap samples: their share of the error is far below that of the examples


def of_the_best(merits: np.ndarray, losses: np.ndarray, generator: np.random.Generator) -> float:
    """The mean merit that choosing the best gets: chosen on a bootstrap sample, judged on the examples outside it.

    Args:
        merits: (c, n) of each candidate on each example; the higher mean is chosen.
        losses: (c, n) likewise; of equal merits the lower one is.
        generator: draws the samples.

    With one example nothing is ever outside, and the best keeps its luck.
    """
    count, examples = 0, merits.shape[1]
    total = 0.0
    for _ in range(DRAWS):
        drawn = np.bincount(generator.integers(0, examples, examples), minlength=examples)
        outside = drawn == 0
        best = np.lexsort((losses @ drawn, -(merits @ drawn)))[0]
        total += float(merits[best, outside].sum())
        count += int(outside.sum())
    return total / count if count else float(merits.mean(axis=1).max())
