"""Pure numerics: arrays in, arrays out; nothing of sterna, no files, no randomness of its own."""
