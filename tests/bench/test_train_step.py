"""The benchmark of the training step, on random images and on those of a data set."""

from mamkpd_jax.bench.programs import train
from mamkpd_jax.data.opening import open_dataset


def test_loader_row_follows_random_row(tiny, monkeypatch):
    for name, value in {"REPEATS": 2, "_PEAK": 1.0}.items():
        monkeypatch.setattr(train.measure, name, type("Flag", (), {"value": value}))
    dataset = open_dataset(tiny)
    rows = list(train.rows(tiny, 4, dataset))
    assert [row["input"] for row in rows] == ["random", "loader"]
    assert all(row["batch"] == 4 and row["images_per_s"] > 0 for row in rows)
    assert 0 <= rows[1]["data_wait"] <= 1
    assert [row["input"] for row in train.rows(tiny, 2, None)] == ["random"]
