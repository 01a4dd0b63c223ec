"""The implementations of the selective scan, one a module. Each module's IMPLEMENTATION is its entry."""
