"""Measure a burst in the running demo and draw it: `python docs/pictures/burst.py` writes burst.json and burst.svg
beside it.

5,000 jobs of 100 ms are posted as one list to `bench` at 0 replicas. Four times a second: how many messages are ready
(a passive declare, which is immediate), how many replicas the Deployment is told, and how many are ready.
"""

import asyncio
import base64
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aio_pika

HERE = Path(__file__).resolve().parent
JOBS, EVERY, AFTERWARDS = 5_000, 0.25, 3.0  # jobs; s; s
KUBECTL = ["kubectl", "--context", "kind-leveret", "-n", "leveret"]
WIDTH, HEIGHT, LEFT, RIGHT = 900, 300, 60, 60
Sample = tuple[float, int, int, int]  # s since the POST, ready messages, replicas told, replicas ready


def kubectl(*words: str) -> str:
    return subprocess.run([*KUBECTL, *words], check=True, capture_output=True, text=True).stdout


def secret(name: str, key: str) -> str:
    return base64.b64decode(kubectl("get", "secret", name, "-o", f"jsonpath={{.data.{key}}}")).decode()


def replicas() -> tuple[int, int]:
    told, ready = kubectl(
        "get", "deployment/bench-consumer", "-o", "jsonpath={.spec.replicas},{.status.readyReplicas}"
    ).split(",")
    return int(told), int(ready or 0)


def post() -> None:
    body = json.dumps([{"type": "sleep", "payload": {"seconds": 0.1}}] * JOBS).encode()
    headers = {"Authorization": f"Bearer {secret('leveret-token', 'token')}", "Content-Type": "application/json"}
    url = "http://127.0.0.1:8080/v1/queues/leveret.bench/jobs"
    urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()


async def measure() -> list[Sample]:
    """Return what was seen from the POST until the queue was empty."""
    if replicas()[0] != 0:
        sys.exit("bench has replicas: wait until `kubectl -n leveret get jq` shows 0, then run this again")
    url = f"amqp://{secret('leveret-broker', 'username')}:{secret('leveret-broker', 'password')}@127.0.0.1:5672/"
    samples: list[Sample] = []
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        began = time.monotonic()
        posting = asyncio.create_task(asyncio.to_thread(post))
        empty_since: float | None = None
        while empty_since is None or time.monotonic() - empty_since < AFTERWARDS:
            told, ready_pods = await asyncio.to_thread(replicas)
            queue = await channel.declare_queue("leveret.bench", passive=True)
            ready = queue.declaration_result.message_count or 0
            samples.append((round(time.monotonic() - began, 2), ready, told, ready_pods))
            done = posting.done() and ready == 0 and max(sample[1] for sample in samples) > 0
            empty_since = (empty_since or time.monotonic()) if done else None
            await asyncio.sleep(EVERY)
        await posting
    return samples


def draw(samples: list[Sample]) -> str:
    end = samples[-1][0]
    most = max(max(sample[1] for sample in samples), 1)
    pods = max(sample[2] for sample in samples)

    def line(column: int, top: int, style: str, *, steps: bool) -> str:
        points = [(LEFT + s[0] / end * (WIDTH - LEFT - RIGHT), HEIGHT - 40 - s[column] / top * 200) for s in samples]
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        path += "".join(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}" for x, y in points[1:])
        return f'<path d="{path}" fill="none" {style}/>'

    told = next(sample[0] for sample in samples if sample[2] == pods)
    ticks = "".join(
        f'<text x="{LEFT + second / end * (WIDTH - LEFT - RIGHT):.0f}" y="{HEIGHT - 20}" class="n">{second} s</text>'
        for second in range(0, int(end) + 1, max(1, round(end / 8)))
    )
    said = f"{JOBS:,} jobs of 100 ms at 0 replicas: {pods} replicas are told {told:.1f} s after the POST"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" role="img">
<title>{said}</title>
<style>text{{font-size:13px;fill:#333}} .n{{fill:#666;font-size:12px;text-anchor:middle}} .a{{fill:#3a63a8}} .b{{fill:#b5651d}}</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="24" font-weight="600">{said}</text>
<text x="{LEFT}" y="46" class="a">— messages waiting, at most {most:,}</text>
<text x="{LEFT + 240}" y="46" class="b">— replicas told, - - replicas ready, at most {pods}</text>
<path d="M{LEFT} {HEIGHT - 40}H{WIDTH - RIGHT}" stroke="#999"/>{ticks}
{line(1, most, 'stroke="#3a63a8" stroke-width="2"', steps=False)}
{line(2, pods, 'stroke="#b5651d" stroke-width="2"', steps=True)}
{line(3, pods, 'stroke="#b5651d" stroke-width="1.5" stroke-dasharray="5 4"', steps=True)}
</svg>
"""


if __name__ == "__main__":
    measured = asyncio.run(measure())
    (HERE / "burst.json").write_text(json.dumps(measured) + "\n")
    (HERE / "burst.svg").write_text(draw(measured))
    print(f"drained after {measured[-1][0] - AFTERWARDS:.1f} s; drawn in {HERE / 'burst.svg'}")
