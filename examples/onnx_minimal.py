"""Finds the pose in a box of a picture with only NumPy, OpenCV and ONNX Runtime; docs/export.md explains the steps.

mamkpd export --checkpoint=people --output=people.onnx
python examples/onnx_minimal.py people.onnx picture.jpg [x y width height] [drawn.png]
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

if len(sys.argv) not in (3, 4, 7, 8):
    sys.exit("expected: onnx_minimal.py model.onnx picture.jpg [x y width height] [drawn.png]")
model, picture, *more = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map.get("mamkpd", "{}"))
if not about or about["options"]["normalize"] or about["options"]["decode"] or about["batch"] > 1:
    sys.exit(f"{model}: expected a file of `mamkpd export` without --normalize, --decode and --batch; export it again")
codec, (height, width) = about["config"]["head"]["codec"], about["config"]["data"]["input_hw"]

# Crop: the box or the picture with a margin, extended to the model's aspect ratio; for udp sizes are less by 1.
if (image := cv2.imread(picture)) is None:
    sys.exit(f"{picture} is not a picture that OpenCV can read; give another")
x, y, w, h = map(float, more[:4]) if len(more) >= 4 else (0, 0, image.shape[1], image.shape[0])
centre, extent = np.array([x + w / 2, y + h / 2]), np.array([width, height]) - (codec == "udp")
scale = extent / (about["box_padding"] * np.maximum([w, h], [h * width / height, w * height / width]))
n = int(np.clip(np.rint(scale.prod() ** -0.5), 1, 8))  # n x n samples per pixel if the image shrinks
matrix = np.column_stack([n * np.diag(scale), n * (extent / 2 - scale * centre) + (n - 1) / 2])
crop = cv2.resize(cv2.warpAffine(image, matrix, (n * width, n * height)), (width, height), interpolation=cv2.INTER_AREA)

# Run: normalised RGB in, heatmaps [joints, rows, columns] out.
normalised = ((crop[..., ::-1] - about["mean"]) / about["std"]).astype(np.float32)
heatmaps = np.asarray(session.run(["heatmaps"], {"image": normalised.transpose(2, 0, 1)[None]})[0])[0]
(rows, columns), scores = heatmaps.shape[1:], heatmaps.max(axis=(1, 2))

# Decode: the highest pixel of each heatmap, refined to subpixels.
reach, k, points = round(2.5 * about["config"]["head"]["sigma_px"] * columns / width), 2 if codec == "dark" else 1, []
for joint, heatmap in enumerate(heatmaps):
    y, x = divmod(int(heatmap.argmax()), columns)
    if codec != "plain":
        heatmap = cv2.GaussianBlur(heatmap, (2 * reach + 1,) * 2, 0.3 * reach + 0.5, borderType=cv2.BORDER_CONSTANT)
        heatmap *= scores[joint] / heatmap.max() if heatmap.max() > 0 else 1
        heatmap = np.log(heatmap.clip(1e-10) if codec == "dark" else heatmap.clip(1e-3, 50))
    v = np.pad(heatmap, 2, mode="edge")[y : y + 5, x : x + 5]  # v[2, 2] is the highest pixel
    dx, dy = (v[2, 3] - v[2, 1]) / 2, (v[3, 2] - v[1, 2]) / 2
    xx, yy = (v[2, 2 + k] - 2 * v[2, 2] + v[2, 2 - k]) / k**2, (v[2 + k, 2] - 2 * v[2, 2] + v[2 - k, 2]) / k**2
    xy = (v[3, 3] + v[1, 1] - 2 * v[2, 2] - xx - yy) / 2 if k == 1 else (v[3, 3] - v[3, 1] - v[1, 3] + v[1, 1]) / 4
    newton = np.array([xy * dy - yy * dx, xy * dx - xx * dy]) / (xx * yy - xy * xy or np.inf)
    inside = codec == "udp" or (1 < x < columns - k and 1 < y < rows - k)
    points.append([x, y] + inside * (np.sign([dx, dy]) / 4 if codec == "plain" else newton))
points = centre + (np.array(points) * extent / (np.array([columns, rows]) - (codec == "udp")) - extent / 2) / scale

for name, (x, y), score in zip(about["skeleton"]["joints"], points, scores, strict=True):
    print(f"{name} {x:.3f} {y:.3f} {score:.3f}")
lines = [np.rint(points[edge]).astype(np.int32) for edge in about["skeleton"]["edges"] if scores[edge].min() > 0.2]
cv2.polylines(image, lines, False, (0, 200, 255), 2, cv2.LINE_AA)
if len(more) % 4:
    cv2.imwrite(more[-1], image)
