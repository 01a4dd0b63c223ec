"""The emulator's one exception."""


class PtxError(Exception):
    """A kernel does what a GPU would hide, or what the emulator does not model."""
