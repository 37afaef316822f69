"""`python tests/host/serve.py [--port P] [--folder DIR]`: ComfyUI with this pack, for a person who has none.

The first time it is built (a minute or two, about 2 GB, into ~/.cache/comfyui-emo). Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from comfy_host import HostUnavailable, build_host, host_folder
from comfy_server import Server


def main() -> int:
    parser = argparse.ArgumentParser(description="Start ComfyUI (on the CPU) with this pack and print its address.")
    parser.add_argument("--port", type=int, default=8188, help="on 127.0.0.1 (8188)")
    parser.add_argument("--folder", type=Path, help="its base directory (beside the built host)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        host = build_host()
    except HostUnavailable as error:
        print(f"ComfyUI cannot be built here: {error}", file=sys.stderr)
        return 1
    folder: Path = options.folder or host_folder().with_name("serve")
    with Server(host, folder.resolve(), port=options.port, beside=()) as server:
        print(f"\nComfyUI with this pack: {server.address}")
        print("Workflow > Browse Templates shows this pack's examples. Ctrl-C ends it.")
        print(f"Its log: {server.log}\nIts videos: {server.output}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
