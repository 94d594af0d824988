"""One board a module; each has `build`."""
