"""What a label is: one file a task."""
