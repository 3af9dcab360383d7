"""Options of a whole run that belong to no method: seeds, the split, the floors.

When not to use: `shots` on a data set whose size is what you have anyway; it throws labels away to study few-shot
behaviour.
"""

from __future__ import annotations

from sterna.spec import Choice, Range, method, option


@method
class Settings:
    """Each is a flag of `sterna fit` and a keyword of `sterna.fit`."""

    seeds: int = option(1, "how many times everything is repeated, each with its own split", Range(1, 100))
    shots: int | None = option(None, "use only this many labelled examples a class; the rest is held out", Range(2))
    test: float = option(
        0.2, "share held out for the final report, unless the data bring a test part", Range(0, 0.9, True)
    )
    validation: float = option(
        0.2, "share of the rest that chooses between routes and stops training", Range(0, 0.9, True)
    )
    folds: int = option(
        0,
        "parts of a cross-validation that chooses in place of one validation part, which is 1; 0: 3 on the ladder with "
        "at most 200 training and validation examples, where one part says too little, else 1",
        Range(0, 20),
    )
    floors: str = option("all", "what transfer is measured against", Choice(("all", "scratch", "classical")))
    domain: str = option("", "the target's value in the column of domains; all other domains are its source")
    source_weight: float | None = option(
        None,
        "weight of a source example against a target example, 0 for none; none given: chosen for each encoder by "
        "cross-validation on the target's training labels, ties going to less source",
        Range(0),
    )
    source_select: str = option(
        "",
        "the best share of the source by gradient, similarity or importance (best:0.5:gradient), as routes of their "
        "own beside the whole source",
    )
    sources: str = option(
        "equal",
        "how an addend that adapts treats several sources: as one, or as a term for each, weighed so",
        Choice(("pooled", "equal", "soft_maximum", "distance")),
    )
    criterion: str = option(
        "", "by which adaptations are chosen without labels of the target, a sum; by default those that did best"
    )
    margin: float = option(0.005, "a gain within this is called equivalent (0.005 = half a point)", Range(0, 0.2))
    refit: int = option(
        500,
        "with at most this many training and validation examples together, each route is fitted on both once its "
        "options are chosen; 0: never",
        Range(0),
    )
    budget: str = option(
        "",
        "time for the whole run, such as 90s, 10m or 2h; routes are tried from the cheapest on while it lasts, with as "
        "many epochs as fit; none given: 10m for tune auto, else no limit",
    )
    mitigate: bool = option(
        True, "where a floor is better on the validation part, try gentler forms of the best transfer route as well"
    )
    ensemble: bool = option(
        True,
        "where the ladder has moved networks in several ways and the validation part cannot tell them apart, ship the "
        "mean of what they answer, as one model of several",
    )
    curve: tuple[float, ...] = option(
        (),
        "shares of the labels with which route and floor are compared again (0.1, 0.3): where transfer stops paying",
        Range(0, 1, low_open=True, high_open=True),
    )
    page: bool = option(
        True, "look at what was learnt, for report.html: a map, doubtful labels, where the network looks"
    )
