"""Score images with nothing but pyarrow, OpenCV and ONNX Runtime: the loop that scoring jobs are compared with.

python score.py SCORER.onnx IMAGES OUTPUT THRESHOLD prints the rows and the seconds since the sessions opened.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import cv2
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

model, images, output, threshold = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), np.float32(sys.argv[4])
cores = len(os.sched_getaffinity(0))
output.mkdir(parents=True)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
sessions: SimpleQueue[ort.InferenceSession] = SimpleQueue()
for _ in range(cores):
    sessions.put(session := ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
names, shape = [each.name for each in session.get_outputs()], session.get_inputs()[0].shape[1:]


def decode(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_binary(column.type):
        return np.frombuffer(column.buffers()[1], np.uint8)[: len(column) * column.type.byte_width].reshape(-1, *shape)
    pixels = np.empty((len(column), *shape), np.uint8)
    for row, encoded in enumerate(column.field("bytes").to_pylist()):
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels[row] = image if shape[0] == 1 else image[..., ::-1].transpose(2, 0, 1)
    return pixels


def score(path: Path, group: int, first: int) -> int:
    pixels = decode(pq.ParquetFile(path).read_row_group(group, ["image"], use_threads=False)["image"].combine_chunks())
    count, session = len(pixels), sessions.get()
    runs = [session.run(None, {"image": pixels[start : start + 128]}) for start in range(0, count, 128)]
    sessions.put(session)
    scores = dict(zip(names, map(np.concatenate, zip(*runs, strict=True)), strict=True))
    keys = {"file": pa.repeat(str(path), count), "row": np.arange(first, first + count)}
    table = pa.table(keys | scores | {"is_outlier": scores["outlier_score"] > threshold})
    pq.write_table(table, output / f"{path.stem}-{group}.parquet", use_dictionary=["file", "p_value"])
    return count


began, work = time.perf_counter(), []  # row groups, each for whichever thread is free
for path in sorted(images.glob("*.parquet")):
    metadata = pq.read_metadata(path)  # all row groups are as long as the first, the last perhaps shorter
    work += [(path, group, group * metadata.row_group(0).num_rows) for group in range(metadata.num_row_groups)]
with ThreadPoolExecutor(cores) as pool:
    rows = sum(pool.map(score, *zip(*work, strict=True)))
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began}))
