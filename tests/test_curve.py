"""Where transfer stops paying, in a sentence."""

from sterna.curve import sentence
from sterna.outcomes import CurvePoint


def points(*ends):
    return [CurvePoint(0.1, labels, 0.0, 0.0, (low + 0.1), low, low + 0.2, 100) for labels, low in ends]


def test_the_sentence_names_the_number_of_labels():
    assert sentence([], "full", "scratch") == ""
    told = sentence(points((20, 0.1), (50, 0.05), (1000, -0.1)), "full", "scratch")
    assert told == (
        "full against scratch: +20.0 points with 20 labels, +15.0 points with 50 labels, +0.0 points with 1,000 "
        "labels; from 1,000 labels on a gain can no longer be told."
    )
    assert sentence(points((20, 0.1), (50, 0.1)), "a", "b").endswith(
        "transfer pays at every number of labels tried, 20 to 50."
    )
    assert "at no number of labels tried, 20 to 50," in sentence(points((20, -0.1), (50, -0.1)), "a", "b")
    assert sentence(points((20, -0.1), (50, 0.1), (90, 0.2)), "a", "b").endswith("a gain can be told with 50, 90.")
