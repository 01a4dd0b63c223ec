"""Converts the release of Leeds Sports Pose Extended or Animal-Pose into annotation files in COCO's form.

mamkpd pose-release --release=DIR --root=data/lspet

DIR is the unpacked release: joints.mat (Leeds Sports Pose Extended) or keypoints.json (Animal-Pose), and images/. The
command writes lspet_train.json and lspet_val.json, or animalpose_train.json and animalpose_val.json, to the root. It
prints how many poses are in each, and how many are left out and why. It does not move the images: training expects them
in images/ of the root.
"""

from pathlib import Path

from absl import flags

from mamkpd_jax.pose_release import convert

_RELEASE = flags.DEFINE_string("release", None, "The unpacked release's folder.", required=True, allow_override=True)
_ROOT = flags.DEFINE_string(
    "root", None, "The data set's folder, for the annotation files.", required=True, allow_override=True
)


def main() -> None:
    release, root = Path(_RELEASE.value), Path(_ROOT.value)
    for of, count in convert(release, root).items():
        print(f"{count:7} {of}")
    if not (root / "images").exists():
        print(f"before training, move or link {release / 'images'} to {root / 'images'}")
