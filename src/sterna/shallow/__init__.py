"""Methods on arrays and raw items: one file a method."""
