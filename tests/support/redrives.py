"""Dead letters, looked at and redriven over HTTP as an operator does it."""

from typing import Any

from producers import Producer, eventually_true


async def dead_letters(producer: Producer, queue: str) -> list[dict[str, Any]]:
    """Return those of a queue, each whole."""
    place = f"/v1/queues/{queue}/dead-letters"
    listed = (await producer.http.get(place)).raise_for_status().json()["dead_letters"]
    return [(await producer.http.get(f"{place}/{one['id']}")).raise_for_status().json() for one in listed]


async def redrive(producer: Producer, queue: str, *ids: str) -> None:
    """Redrive these; each of them must be a dead letter."""
    answer = await producer.http.post(f"/v1/queues/{queue}/dead-letters/redrive", json={"ids": ids})
    assert answer.status_code == 202, answer.text

    async def is_done() -> bool:
        operation = (await producer.http.get(answer.headers["location"])).json()
        return (operation["state"], operation["done"]) == ("done", len(ids))

    await eventually_true(is_done, f"{len(ids)} are redriven")
