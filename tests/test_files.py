"""Files that are there whole or not at all."""

import json

import pytest

from mamkpd_jax.files import write_json


def test_nan_is_never_written_and_the_file_before_stays(tmp_path):
    """Strict readers refuse a bare NaN."""
    path = tmp_path / "report.json"
    write_json(path, {"AP": 0.5})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"AP": value})
    assert json.loads(path.read_bytes()) == {"AP": 0.5}
    assert list(tmp_path.iterdir()) == [path]
