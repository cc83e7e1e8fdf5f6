"""Acts as a worker with a model on a GPU: each memory report counts one more byte of other programs; the third request gets none."""

from __future__ import annotations

import socket
import sys

from jupyter_mistral.protocol import PROTOCOL
from jupyter_mistral.protocol.wire import FrameReader, to_frame

link = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
MEMORY = {"device": "cuda", "weights": 1, "kv": 0, "free": 1, "total": 9, "gpu": "NVIDIA L4"}
link.sendall(to_frame({"type": "hello", "pid": 1, "protocol": PROTOCOL, "seal": {}, "versions": {}}))
frames, looks = FrameReader(), 0
while data := link.recv(1 << 16):
    for header, _ in frames.feed(data):
        if header["type"] == "load":
            link.sendall(to_frame({"type": "ready", "card": {"name": "m"}, "memory": MEMORY | {"others": 0}}))
        if header["type"] == "look":
            looks += 1
            if looks != 3:
                link.sendall(to_frame({"type": "memory", **MEMORY, "others": looks}))
                link.sendall(to_frame({"type": "looked", "id": header["id"]}))
        if header["type"] == "shutdown":
            sys.exit()
