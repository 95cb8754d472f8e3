"""What is drawn for a snapshot, character by character."""

from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from demo import plain, summary, view
from demo.api import FinalJob, JobError, Report
from demo.snapshot import JobSeen, Snapshot
from demo.urls import EXPECTED
from leveret.jobs import State


def drawn(content: RenderableType, width: int) -> list[str]:
    console = Console(width=width, height=30, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as capture:
        console.print(content)
    return [line.rstrip() for line in capture.get().splitlines()]


FRAME_80 = """\
╭─ 3,000 URLs in queue leveret.url-check ──────────────────────────────────────╮
│ ███████████████████████████████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │
│ succeeded 1,960   dead 40   running 240   retrying 60   waiting 700          │
│ 67 % finished, 321 retries so far                                            │
╰─────────────────────────────────────────────────────────────────────── 0:20 ─╯
╭─ over time ──────────────────────────────────────────────────────────────────╮
│ finished/s         160               ▂▂▂▂▂▂▂▂▂▂▂▂▂▆▆▆▆▆▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇█ │
│ backlog          1,000  ▁▁▁▁▁▁▁▁▁▁▁▁▁█████████████             ▆▆▆▆▆▆▆▆▆▆▆▆▄ │
│ pods wanted         10  ▁▁▁▁▁▁▁▁▁▁▁▁▁█████████████             █████████████ │
│ pods there          10  ▁▁▁▁▁▁▁▁▁▁▁▁▁▄▄▄▄▄▄▄▄▄▄▄▄▄             █████████████ │
╰─────────────────────────────────────────────────────────────── 0:00 to 0:20 ─╯
╭─ what the operator decided ──────────────────────────────────────────────────╮
│  0:00  0 → 10   MaxReplicas    backlog 3,000 at 100 for each replica wants … │
╰──────────────────────────────────────────────────────────────────────────────╯
Ctrl-C stops watching; the jobs go on.
"""

FRAME_120 = """\
╭─ 3,000 URLs in queue leveret.url-check ──────────────────────────────────────────────────────────────────────────────╮
│ ██████████████████████████████████████████████████████████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │
│ succeeded 1,960   dead 40   running 240   retrying 60   waiting 700                                                  │
│ 67 % finished, 321 retries so far                                                                                    │
╰─────────────────────────────────────────────────────────────────────────────────────────────────────────────── 0:20 ─╯
╭─ over time ──────────────────────────────────────────────────────────────────────────────────────────────────────────╮
│ finished/s         160                         ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇█ │
│ backlog          1,000  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁███████████████████████                       ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▄ │
│ pods wanted         10  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁███████████████████████                       ███████████████████████ │
│ pods there          10  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄                       ███████████████████████ │
╰─────────────────────────────────────────────────────────────────────────────────────────────────────── 0:00 to 0:20 ─╯
╭─ what the operator decided ──────────────────────────────────────────────────────────────────────────────────────────╮
│  0:00  0 → 10   MaxReplicas    backlog 3,000 at 100 for each replica wants 30; maxReplicas is 10, so that many are … │
╰──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────╯
Ctrl-C stops watching; the jobs go on.
"""


@pytest.mark.parametrize(("width", "expected"), [(80, FRAME_80), (120, FRAME_120)], ids=["80", "120"])
def test_the_frame_of_a_snapshot(midst: Snapshot, width: int, expected: str) -> None:
    assert drawn(view.frame(midst, width), width) == expected.splitlines()


@pytest.mark.parametrize("width", [80, 81, 100, 120, 200])
def test_a_frame_fits_its_terminal_at_every_moment(empty: Snapshot, midst: Snapshot, end: Snapshot, width: int) -> None:
    for snapshot in (empty, midst, end, replace(midst, trouble="x" * 300)):
        lines = drawn(view.frame(snapshot, width), width)
        assert max(len(line) for line in lines) <= width
        assert len(lines) <= 24


def test_trouble_takes_the_place_of_the_hint(midst: Snapshot) -> None:
    lines = drawn(view.frame(replace(midst, trouble="it answers 503"), 80), 80)
    assert lines[-1] == "Waiting for fresh numbers: it answers 503"


def test_what_is_not_known_is_a_dash(empty: Snapshot) -> None:
    lines = drawn(view.frame(empty, 80), 80)
    assert [line.split()[-2] for line in lines if "pods" in line or "backlog" in line] == ["–", "–", "–"]


@pytest.mark.parametrize(
    ("moment", "line"),
    [
        (
            "empty",
            "0:00  0 succeeded, 0 dead, 0 running, 0 retrying, 3,000 waiting; –/s; backlog –, pods – of – wanted",
        ),
        (
            "midst",
            "0:20  1,960 succeeded, 40 dead, 240 running, 60 retrying, 700 waiting; 160/s; backlog 1,000, pods 10 of 10 wanted",
        ),
    ],
)
def test_without_a_terminal_a_snapshot_is_a_line(moment: str, line: str, request: pytest.FixtureRequest) -> None:
    assert plain.line(request.getfixturevalue(moment)) == line


SUMMARY_80 = """\
3,000 of 3,000 URLs are finished after 1:15: 2,898 succeeded, 102 are dead
letters, 633 retries; 40/s on average, 160/s at best.

URLs that are  checked  succeeded  dead  attempts  what they do
fast             2,690      2,690     0      1.00  200 at once
flaky              208        208     0      2.50  200 after 1 or 2 failures
failing             90          0    90      4.00  503 each time: dead at last
hanging             12          0    12      4.00  no answer: dead at last

  at  pods    reason       in words
0:00  0 → 10  MaxReplicas  backlog 3,000 at 100 for each replica wants 30;
                           maxReplicas is 10, so that many are wanted and no
                           more
1:10  10 → 1  Backlog      backlog 12 at 100 for each replica wants 1
"""


def jobs() -> list[JobSeen]:
    return [
        *[JobSeen("fast", State.SUCCEEDED, 1)] * 2690,
        *[JobSeen("flaky", State.SUCCEEDED, 2)] * 104,
        *[JobSeen("flaky", State.SUCCEEDED, 3)] * 104,
        *[JobSeen("failing", State.DEAD, 4)] * 90,
        *[JobSeen("hanging", State.DEAD, 4)] * 12,
    ]


def test_the_summary_tells_outcomes_and_scaling(end: Snapshot) -> None:
    content = summary.summary(end, summary.outcomes(jobs()), EXPECTED)
    assert drawn(content, 80) == SUMMARY_80.splitlines()


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (FinalJob(State.SUCCEEDED, Report(200, 0.0123, [], None)), "status 200 in 0.012 s"),
        (FinalJob(State.SUCCEEDED, Report(200, 0.5, ["a"], None)), "status 200 in 0.500 s after 1 redirect"),
        (FinalJob(State.SUCCEEDED, Report(200, 0.5, ["a", "b"], None)), "status 200 in 0.500 s after 2 redirects"),
        (FinalJob(State.SUCCEEDED, Report(None, None, [], "refused by policy: x")), "refused by policy: x"),
        (FinalJob(State.DEAD, error=JobError("AttemptsExhausted", "503")), "AttemptsExhausted: 503"),
        (FinalJob(State.RUNNING), "running"),
    ],
    ids=["answered", "one redirect", "redirects", "refused", "dead", "not final"],
)
def test_one_job_in_words(job: FinalJob, words: str) -> None:
    assert summary.in_words(job) == words
