"""Run the graphs of a work folder in onnxruntime-web in a headless Chromium, with wasm or WebGPU.

    python -I browser.py CHROMIUM NODE_MODULES wasm|webgpu FOLDER

A local server hands the page its files, and takes what it writes; the page says when it is done.
"""

import json
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_SCRIPTS = {"wasm": "ort.wasm.min.mjs", "webgpu": "ort.webgpu.min.mjs"}
_TYPES = {".mjs": "text/javascript", ".html": "text/html", ".wasm": "application/wasm", ".json": "application/json"}
# WebGPU on a machine without a graphics card is computed by SwiftShader; root has no sandbox in a container.
_OPTIONS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--enable-unsafe-webgpu"]
_RESULT = re.compile(r"/work/results/(\w[\w.-]*)")  # and no other file
_SOFTWARE = "--use-webgpu-adapter=swiftshader"


def main(chromium: str, node_modules: Path, provider: str, folder: Path) -> None:
    """Serve the page, open it, and wait for its end."""
    done = threading.Event()
    here, scripts = Path(__file__).parent, node_modules / "onnxruntime-web" / "dist"

    class Handler(BaseHTTPRequestHandler):
        """`/worker.mjs` and `/page.html` are beside this file, `/ort/` is the npm package, `/work/` the folder."""

        def do_GET(self) -> None:
            """Send a file."""
            path = self.path.partition("?")[0].lstrip("/")
            if path == "settings.json":
                finished = [each.name.removesuffix(".json") for each in (folder / "results").glob("*.json")]
                content = json.dumps({"provider": provider, "script": _SCRIPTS[provider], "done": finished}).encode()
            else:
                root, _, name = path.partition("/") if "/" in path else ("", "", path)
                source = {"ort": scripts, "work": folder, "": here}.get(root, here) / name
                if not source.is_file() or ".." in path:
                    self.send_error(404)
                    return
                content = source.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(Path(path).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_PUT(self) -> None:
            """Store a result, or end."""
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/done":
                done.set()
            elif result := _RESULT.fullmatch(self.path):
                target = folder / "results" / result[1]
                temporary = target.with_name(target.name + ".tmp")
                temporary.write_bytes(content)
                temporary.replace(target)
            else:
                self.send_error(404)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="vae-browser-") as profile:
        software = [_SOFTWARE] if provider == "webgpu" else []
        page = f"http://127.0.0.1:{server.server_port}/page.html"
        browser = subprocess.Popen([chromium, *_OPTIONS, *software, f"--user-data-dir={profile}", page])
        try:
            while not done.wait(0.2):
                if browser.poll() is not None:
                    sys.exit(f"the browser ended with exit code {browser.returncode}")
        finally:
            browser.terminate()
            browser.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
