"""llama.cpp's own HTTP server on a loopback port: `python llamacpp_engine.py FILE.gguf [PORT]` prints its address."""

import sys
import time

import xllamacpp


def main() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    # two parallel answers, each with half of the context
    parameters.n_ctx, parameters.n_parallel = 4096, 2
    parameters.cpuparams.n_threads = 2
    parameters.warmup = parameters.ui = False
    parameters.offline = True
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
