"""The rungs of the ladder for each kind of data: the ways of transferring that are tried, in the grammar."""

from __future__ import annotations

from sterna import folder

PICTURES = ("probe", "partial", "lp_ft")  # of sounds too; on few of them a random head bends the features
MANY_PICTURES = ("probe", "partial(stages=4, warm_head=false)", "full", "lp_ft")  # under a fitted head little moves
# A head that is optimal on frozen features leaves a few texts nothing to learn, and all else stands nearly still: with
# ten a class one that learns along was 4 to 5 points better on reviews and 5 to 20 on questions. On as few photos it is
# far worse.
TEXTS = (
    "probe",
    "partial(stages=3, warm_head=false, layer_decay=0.6, rate=3)",
    "contrastive",
    "lora(warm_head=false)",
    "full",
    "lp_ft",  # with fifty questions a class it was the best of all
)
LANGUAGE = ("text", "words")  # what `TEXTS` is for; `lora` beside convolutions takes longer than moving them
SIMPLEST = ("prototypes", "zero_shot", "head2toe")  # what moves no stage, for labels that they serve


def serving(modality: str, task: str, objective: bool, few: bool = False) -> list[str]:
    """The policies that serve a kind of data and of labels, without those whose package is not installed.

    Args:
        modality: of the items.
        task: the file of `tasks/`.
        objective: whether one is written or a teacher named; `contrastive` has its own, and is none of its routes.
        few: whether a fifth of the labelled examples is too little to choose by.
    """
    pairs = modality == "text" and task == "classify" and not objective
    return [one for one in _every(modality, few) if (pairs or one != "contrastive") and not _lacking(one)]


def absent(modality: str) -> list[str]:
    """Of each rung whose package is not installed, a sentence that says what to type."""
    return [sentence for one in _every(modality) if (sentence := _lacking(one))]


def _every(modality: str, few: bool = False) -> tuple[str, ...]:
    if modality in LANGUAGE:
        return TEXTS
    return PICTURES if few else MANY_PICTURES


def _lacking(rung: str) -> str:
    return folder.lacking("tune", rung.partition("(")[0])
