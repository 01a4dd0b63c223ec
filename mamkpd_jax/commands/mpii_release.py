"""Converts MPII's official release into annotation files for training and evaluation.

mamkpd mpii-release --release=mpii_human_pose_v1_u12_1.mat --root=data/mpii [--validation=FILE]

The command writes annot/train.json, annot/valid.json and annot/gt_valid.mat to the root, in the form of the HRNet
repository. It prints how many persons are in each split, and how many are left out and why. --validation takes a person
list of that repository, which makes scores comparable with published ones. Without it, one video in seven is for
validation.
"""

from pathlib import Path

from absl import flags

from mamkpd_jax.mpii_release import convert

_RELEASE = flags.DEFINE_string("release", None, "The official mpii_human_pose_v1_u12_1.mat.", required=True)
_ROOT = flags.DEFINE_string("root", None, "The data set's folder, in which annot/ is written.", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "The person list of the validation split, in HRNet's form.")


def main() -> None:
    validation = Path(_VALIDATION.value) if _VALIDATION.value else None
    for of, count in convert(Path(_RELEASE.value), Path(_ROOT.value), validation).items():
        print(f"{count:7} {of}")
