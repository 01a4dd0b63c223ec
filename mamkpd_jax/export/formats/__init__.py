"""The export formats. Each module is one, and its file name is the suffix of exported files."""
