"""The formats that models are exported in: a module is a file suffix, by the name of its file."""
