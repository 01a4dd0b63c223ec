"""The emulator's only exception."""


class PtxError(Exception):
    """A kernel has a fault that a GPU would hide, or uses a feature that the emulator does not model."""
