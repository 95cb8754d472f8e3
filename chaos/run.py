"""A run from beginning to end: prepare, submit under faults, let it settle, close the account, put everything back."""

import asyncio
import json
import secrets
import time
from dataclasses import asdict

from chaos import effects, inserts, own_database, report, stage, store, stretches, targets
from chaos.evidence import Asked
from chaos.ledger import Account, Ledger, settle
from chaos.plan import Fault, Part
from chaos.stage import Broken, Chaos, Options
from chaos.stretches import Plan, Stretch

# What a delay level passed on in the moment of a broker's death comes after 180 s, the broker's own patience, and may then
# have eight attempts to go.
SETTLE_SECONDS = 240.0
LATEST_ACCEPTED = 300.0  # s after the time in which all should be
LINE_EVERY = 5.0
READ_AGAIN_AFTER = 10.0  # s: a final state must be the same then


async def run(options: Options) -> Ledger:
    """Make a run and return its ledger; raise Broken, ClusterProblem or NotAccepted if it can't be made."""
    name = f"{options.seed}-{secrets.token_hex(3)}"
    options.folder.mkdir(parents=True, exist_ok=True)
    async with stage.opened(options) as chaos:
        without = await stage.prepare(chaos)
        plan = stretches.planned(options.seed, name, options.size, without)
        (options.folder / "plan.json").write_text(json.dumps([asdict(fault) for fault in plan.faults], indent=1))
        return await _under_faults(chaos, plan)


async def _under_faults(chaos: Chaos, plan: Plan) -> Ledger:
    await chaos.witness.declare()
    chaos.began = time.time()
    reading = asyncio.create_task(chaos.witness.read())
    telling = asyncio.create_task(_tell(chaos))
    try:
        await _submit_and_disturb(chaos, plan)
        accounts = list[Account]()
        if Stretch.INSERTS in stretches.wanted(chaos.options.size):
            accounts.append(await inserts.stop(chaos, lambda fault: _disturb(chaos, fault, time.monotonic())))
        ledger = await _account(chaos, accounts)
    finally:
        for task in (telling, reading):
            task.cancel()
        ends = await asyncio.gather(telling, reading, return_exceptions=True)
        await chaos.faults.put_back()
    for problem in ends:
        if isinstance(problem, Exception):  # then the account has no witness
            raise problem
    print(f"\n{report.table(ledger, chaos.began, chaos.witness.gaps)}\n\n{report.account(ledger)}", flush=True)
    if ledger.good:
        await stage.remove(chaos)
    return ledger


async def _submit_and_disturb(chaos: Chaos, plan: Plan) -> None:
    began = time.monotonic()
    longest = plan.seconds + LATEST_ACCEPTED
    try:
        async with asyncio.timeout(longest), asyncio.TaskGroup() as tasks:
            tasks.create_task(chaos.submitter.run(plan.batches, began))
            for fault in plan.faults:
                tasks.create_task(_disturb(chaos, fault, began))
    except TimeoutError as problem:
        raise Broken(
            f"after {longest:.0f} s only {len(chaos.submitter.accepted):,} jobs are accepted and {len(chaos.happened)} faults over; "
            f"{chaos.options.folder}/submitted.jsonl tells what was refused last, and why"
        ) from problem
    chaos.happened.sort(key=lambda one: one.began)
    chaos.say(f"{len(chaos.submitter.accepted):,} jobs are accepted and all faults are over")


async def _disturb(chaos: Chaos, fault: Fault, began: float) -> None:
    await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
    chaos.say(f"fault {fault.number}: {fault.title}")
    happened = await chaos.faults.carry_out(fault)
    chaos.happened.append(happened)
    lasted = happened.ended - happened.began
    chaos.say(
        f"fault {fault.number} is over after {lasted:.1f} s" + (f": {happened.problem}" if happened.problem else "")
    )


async def _tell(chaos: Chaos) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        accepted = chaos.submitter.accepted
        chaos.say(
            f"{len(accepted):,} accepted, {len(accepted) - chaos.to_go:,} final, {chaos.to_go:,} to go; "
            f"{chaos.submitter.refused:,} answers were refusals, {chaos.submitter.unknown:,} jobs not answered for"
        )


async def _account(chaos: Chaos, accounts: list[Account]) -> Ledger:
    """Wait until everything is final, as the witness and the store say, and no longer than the settle time."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        if not chaos.to_go and not await store.not_final(chaos.http, chaos.queues, chaos.since):
            break
        await asyncio.sleep(2.0)
    rows = await store.read(chaos.http, chaos.queues, chaos.since)
    await asyncio.sleep(READ_AGAIN_AFTER)
    later = await store.read(chaos.http, chaos.queues, chaos.since)
    paths = await targets.counted(chaos.cluster)
    asked = Asked(paths, await targets.presences(chaos.cluster), time.time())
    written: list[effects.Effect] = []
    if Part.EFFECTS in chaos.parts:
        written = effects.read(await own_database.ask(chaos.cluster, effects.SELECT))
        stored = await store.read(chaos.http, [chaos.queue(Part.EFFECTS)], chaos.since)
        accounts = [effects.account(written, stored), *accounts]
        (chaos.options.folder / "effects.json").write_text(json.dumps([asdict(one) for one in written], indent=1))
        chaos.say(f"{chaos.submitter.cancels:,} cancels were taken before their jobs had ended")
    children = [one.job for one in written if one.parent]
    ledger = settle(
        chaos.submitter.accepted,
        rows,
        later,
        chaos.witness,
        asked,
        chaos.happened,
        chaos.options.seed,
        accounts,
        children,
    )
    if not ledger.good:
        rows_of = {job: asdict(row) for job, row in later.items()}
        (chaos.options.folder / "rows.json").write_text(json.dumps(rows_of, indent=1))
        (chaos.options.folder / "requests.json").write_text(json.dumps(paths, indent=1))
        (chaos.options.folder / "runs.json").write_text(json.dumps([asdict(one) for one in asked.runs], indent=1))
        (chaos.options.folder / "faults.json").write_text(json.dumps([asdict(one) for one in chaos.happened], indent=1))
    return ledger
