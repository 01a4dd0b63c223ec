"""Readers of other tools' labels, one a module, named as in `import-data --from`. Each module's READ is its entry."""
