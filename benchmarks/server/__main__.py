"""
Runs the server until its standard input closes: ``python -m benchmarks.server [options]``.

Prints its ports as one line of JSON when it is ready. That it ends with its standard input means that it
never outlives the benchmark that started it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import ssl
import sys
import threading

from benchmarks.server.link import MB, Link, SharedLine
from benchmarks.server.state import Counter, RemoteState, State, serve
from benchmarks.server.worker import Worker, leave_with


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="plain http (0: a free one)")
    parser.add_argument("--tls-port", type=int, default=0, help="https, with --cert and --key (0: a free one)")
    parser.add_argument("--cert", help="PEM certificate chain")
    parser.add_argument("--key", help="PEM key")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--conn-mbps", type=float, default=0.0, help="cap per request, MB/s (0: none)")
    parser.add_argument("--total-mbps", type=float, default=0.0, help="cap on all requests, each way, MB/s (0: none)")
    parser.add_argument("--processes", type=int, default=4, help="worker processes")
    parser.add_argument("--check", action="store_true", help="decode uploads and keep their CRC64NVME (slow)")
    return parser.parse_args()


def work(options: argparse.Namespace, listeners: list[socket.socket], worker: Worker, parent_alive: int) -> None:
    """Be one worker process."""
    threading.Thread(target=leave_with, args=(parent_alive,), daemon=True).start()
    contexts: list[ssl.SSLContext | None] = [None]
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        contexts.append(context)
    threads = [
        threading.Thread(target=worker.accept, args=pair, daemon=True) for pair in zip(listeners, contexts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fork_workers(options: argparse.Namespace, listeners: list[socket.socket], sent: Counter, state: State) -> None:
    """Start the worker processes, then answer their questions from a thread each."""
    rate = options.total_mbps * MB
    up, down = (SharedLine(rate), SharedLine(rate)) if rate else (None, None)
    link = Link(options.latency, options.conn_mbps * MB, up, down)
    alive, hold = os.pipe()
    pipes = []
    for _ in range(options.processes):
        ours, theirs = multiprocessing.Pipe()
        pipes.append(ours)
        if os.fork() == 0:
            os.close(hold)
            for pipe in pipes:
                pipe.close()
            work(options, listeners, Worker(RemoteState(theirs), link, options.check, sent), alive)
            os._exit(1)
        theirs.close()
    # Only now: a fork copies no threads, but may copy a lock that one of them holds.
    for pipe in pipes:
        threading.Thread(target=serve, args=(state, pipe), daemon=True).start()


def main() -> None:
    options = parse()
    listeners = [socket.create_server(("127.0.0.1", options.port), backlog=512)]
    if options.cert:
        listeners.append(socket.create_server(("127.0.0.1", options.tls_port), backlog=512))
    sent = Counter()
    fork_workers(options, listeners, sent, State(sent))
    names = ("http", "https")
    ports = {name: listener.getsockname()[1] for name, listener in zip(names, listeners, strict=False)}
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
