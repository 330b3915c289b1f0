#!/usr/bin/env python3
"""Hands on bytes between a free port of loopback and the port given, inside the kernel, and counts.

Usage: tap.py PORT

Prints its own port. For each line on stdin it prints what passed since it began, as JSON: `connections`, and the bytes
sent `up` and `down`. Ends when stdin does.
"""
import json, os, socket, sys, threading

PIECE = 1 << 20
counts = {"connections": 0, "up": 0, "down": 0}
lock = threading.Lock()


def hand_on(source, sink, key):
    reader, writer = os.pipe()
    try:
        while True:
            taken = os.splice(source.fileno(), writer, PIECE)
            if taken == 0:
                break
            with lock:
                counts[key] += taken
            while taken > 0:
                taken -= os.splice(reader, sink.fileno(), taken)
    except OSError:
        pass
    finally:
        os.close(reader)
        os.close(writer)
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def serve(client, port):
    with client, socket.create_connection(("127.0.0.1", port)) as upstream:
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = threading.Thread(target=hand_on, args=(client, upstream, "up"), daemon=True)
        up.start()
        hand_on(upstream, client, "down")
        up.join()


def accept(listener, port):
    while True:
        client, _ = listener.accept()
        with lock:
            counts["connections"] += 1
        threading.Thread(target=serve, args=(client, port), daemon=True).start()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener, int(sys.argv[1])), daemon=True).start()
    for _ in sys.stdin:
        with lock:
            print(json.dumps(counts), flush=True)
    os._exit(0)  # threads may wait for peers


main()
