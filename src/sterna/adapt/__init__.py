"""Methods of domain adaptation on arrays, one a file: a labelled source and a target without labels."""
