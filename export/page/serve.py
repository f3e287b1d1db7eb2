"""Serve this folder to a browser on this machine: `python serve.py [PORT]`. Needs Python 3 alone.

Fetches ONNX Runtime Web into `runtime/` with npm first, if it is not there, and checks its hashes. The page itself uses
no network. Any other web server will do as well once `runtime/` is filled.
"""

import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGE = "onnxruntime-web@1.30.0"
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""Of the package's folder dist/: what WebAssembly needs, then what WebGPU needs; and the SHA-256 of each."""
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def fetch_runtime(target: Path) -> None:
    """Fetch the files of ONNX Runtime Web with npm, unless they are in `target` already.

    Raises:
        RuntimeError: npm is missing or fails, or a file is not the one that is expected.
    """
    if all((target / name).exists() for name in FILES):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(
            f"npm is needed once, to fetch {PACKAGE} into {target}: install Node.js, then rerun this command"
        )
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", "--silent", "--pack-destination", scratch, PACKAGE]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not archives:
            raise RuntimeError(f"npm could not fetch {PACKAGE}: {(done.stderr or done.stdout).strip()[-500:]}")
        contents = {}
        with tarfile.open(archives[0]) as archive:
            for name, expected in FILES.items():
                member = archive.extractfile(f"package/dist/{name}")
                content = b"" if member is None else member.read()
                if hashlib.sha256(content).hexdigest() != expected:
                    raise RuntimeError(f"{name} of {PACKAGE} differs from its hash in {__file__}")
                contents[name] = content
    target.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (target / name).write_bytes(content)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the folder, with a content security policy that holds for workers, too."""

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The type of a file; of code it must be right, and a system's own table may say otherwise."""
        return TYPES.get(Path(path).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        """Add the policy."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing about each request."""


def server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of a folder, for this machine alone; port 0 is a free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))


def main() -> None:
    """Fetch, print the address, serve until interrupted."""
    try:
        fetch_runtime(FOLDER / "runtime")
    except RuntimeError as error:
        sys.exit(str(error))
    port = sys.argv[1] if len(sys.argv) > 1 else "0"
    try:
        serving = server(FOLDER, int(port))
    except (ValueError, OverflowError, OSError) as error:
        sys.exit(f"the port must be a free one, got {port} ({error})")
    with serving:
        print(f"http://127.0.0.1:{serving.server_port}/   (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


if __name__ == "__main__":
    main()
