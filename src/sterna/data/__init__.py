"""One file per kind of data: a reference such as a folder or a file name -> a checked table."""
