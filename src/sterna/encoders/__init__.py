"""One file per origin of pretrained weights -> an `Encoder`: stages, preparation, source classes."""
