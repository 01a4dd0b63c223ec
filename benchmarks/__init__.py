"""MamKPD beside its peers: accuracy.py and speed.py measure, report.py tells. Not part of the package."""
