"""The server whose page is tested."""

from tests.serving.conftest import bad_files, config, picture, random_weights, server, workdir

__all__ = ["bad_files", "config", "picture", "random_weights", "server", "workdir"]
