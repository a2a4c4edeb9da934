"""Messages as a broker sends them, written by pika."""

import pika
from pika import frame

CHANNEL = 1
FRAME_SIZE_MAX = 4096


def content(method, properties: pika.BasicProperties, body: bytes) -> bytes:
    frames = [frame.Method(CHANNEL, method), frame.Header(CHANNEL, len(body), properties)]
    size = FRAME_SIZE_MAX - 8
    frames += [frame.Body(CHANNEL, body[i : i + size]) for i in range(0, len(body), size)]
    return b"".join(f.marshal() for f in frames)
