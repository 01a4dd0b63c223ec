"""Readers of other tools' labels: one module for each tool, named as in `import-data --from`, with a function READ."""
