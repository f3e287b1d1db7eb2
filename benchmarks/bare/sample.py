"""Draw images with nothing but numpy, OpenCV, pyarrow and ONNX Runtime: the loop that sampling jobs are compared with.

python sample.py DECODER.onnx COUNT OUTPUT prints the rows and the seconds since the sessions opened.
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

model, total, output = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
rows_at_once, batch, seed = 4096, 64, 0
png = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
png += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
cores = len(os.sched_getaffinity(0))
output.mkdir(parents=True)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
sessions: SimpleQueue[ort.InferenceSession] = SimpleQueue()
for _ in range(cores):
    sessions.put(session := ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
latents = session.get_inputs()[0].shape[1]


def encode(image: np.ndarray) -> bytes:
    pixels = image[0] if len(image) == 1 else cv2.merge([image[2], image[1], image[0]])
    return bytes(cv2.imencode(".png", pixels, png)[1])


def sample(first: int) -> int:
    count, session = min(rows_at_once, total - first), sessions.get()
    z = np.random.default_rng([seed, first]).standard_normal((count, latents), dtype=np.float32)
    encoded = []
    for start in range(0, count, batch):
        (images,) = session.run(["image"], {"z": z[start : start + batch]})
        encoded += [encode(image) for image in images]
    sessions.put(session)
    index = np.arange(first, first + count)
    names = pa.array([f"{number:09d}.png" for number in index])
    pictures = pa.StructArray.from_arrays([pa.array(encoded, pa.binary()), names], ["bytes", "path"])
    table = pa.table({"image": pictures, "index": index, "seed": np.full(count, seed)})
    options = {"compression": "none", "use_dictionary": ["seed"], "row_group_size": 1024}
    pq.write_table(table, output / f"{first:09d}.parquet", **options)
    return count


began = time.perf_counter()
with ThreadPoolExecutor(cores) as pool:
    rows = sum(pool.map(sample, range(0, total, rows_at_once)))
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began}))
