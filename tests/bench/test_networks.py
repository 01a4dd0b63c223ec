"""The peers match their papers: sizes, shapes and initialisation."""

import runpy

import pytest

from mamkpd_jax.errors import UserError

torch = pytest.importorskip("torch")

from mamkpd_jax.bench import peers  # noqa: E402 (torch is an extra)
from mamkpd_jax.bench.peers.networks import build, cost  # noqa: E402

# Millions of parameters and GMACs at 256x192 with 17 joints, rounded, from MMPose's model zoo. It leaves out the matrix
# products of ViT's attention: two in each of 12 blocks, of 192 tokens by 192 tokens by 384 channels.
_PUBLISHED = {
    "simple_baseline": (34.00, 5.46),
    "hrnet_w32": (28.5, 7.68),
    "vit_s": (24.3, 5.3 + 12 * 2 * 192 * 192 * 384 / 1e9),
}


@pytest.mark.parametrize("name", _PUBLISHED)
def test_sizes_match_the_published_ones(name):
    if name != "simple_baseline":
        pytest.importorskip("timm")
    params, macs = cost(build(name, 17, (256, 192)), (256, 192))
    published_m, published_g = _PUBLISHED[name]
    assert params / 1e6 == pytest.approx(published_m, rel=2e-3)
    assert macs / 1e9 == pytest.approx(published_g, rel=1e-2)


def test_initial_heatmaps_are_near_zero():
    model = build("simple_baseline:0.125", 14, (64, 64))
    heatmaps = model(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert heatmaps.shape == (2, 14, 16, 16)
    assert 0 < heatmaps.abs().max() < 0.1


def test_narrow_peer_and_narrow_model_cost_the_same():
    from mamkpd_jax.complexity import costs
    from mamkpd_jax.skeletons import LSPET

    config = runpy.run_path("configs/narrow.py")["get_config"]("lspet,base")
    ours = sum(part.macs for part in costs(config, LSPET).values())
    _, theirs = cost(build("simple_baseline:0.1875", 14, config.data.input_hw), config.data.input_hw)
    assert theirs == pytest.approx(ours, rel=0.02)


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("resnet", "no peer 'resnet'; expected one of simple_baseline, hrnet_w32, vit_s"),
        ("vit_s:0.5", "'vit_s:0.5': vit_s takes no width"),
        ("simple_baseline:abc", "'simple_baseline:abc': expected a width of at least 1/64"),
        ("simple_baseline:0", "'simple_baseline:0': expected a width of at least 1/64"),
        ("simple_baseline:inf", "'simple_baseline:inf': expected a width of at least 1/64"),
    ],
)
def test_wrong_peers_are_refused(peer, message):
    with pytest.raises(UserError, match=message):
        peers.check(peer)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="hrnet_w32 needs timm, which is not installed"):
        peers.check("hrnet_w32")
