"""Statistics of a spectrogram, with no pretrained weights: the floor that a transfer has to beat on sounds.

`spectrogram:log_mel` is how the cepstra of 40 log-mel bands are spread over a recording, and how they go on over its
four quarters: 200 numbers (see `sounds.LogMelStatistics`), at 16,000 samples a second, which hold speech and most
of other sounds. With logistic regression on top (`tune probe`) they are a classical recogniser of words and sounds.

When not to use: as the method of choice for speech; it is there to be compared with.
"""

from __future__ import annotations

from sterna import folder, network
from sterna.errors import EncoderError
from sterna.network import Network, Stage, empty_head, no_op
from sterna.records import Encoder
from sterna.sounds import LogMelStatistics

NAMES = ("log_mel",)


def load(name: str) -> Encoder:
    """The features `name`, as a network without weights. Raises `EncoderError` for an unknown name."""
    if name not in NAMES:
        raise EncoderError(folder.unknown("features of a spectrogram", name, NAMES))
    prepare = LogMelStatistics()
    return Encoder(
        reference=f"spectrogram:{name}",
        network=_network(),
        preparation=prepare,
        source_classes=(),
        digest=network.digest(f"spectrogram:{name} {prepare!r}", {}),
        config={"library": "sterna", "architecture": f"spectrogram:{name}", "num_features": prepare.width},
        fresh=_network,
        pretrained=False,
    )


def _network() -> Network:
    return Network({"features": Stage([], no_op)}, empty_head(LogMelStatistics().width)).eval()
