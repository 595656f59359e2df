"""What `wbrag demo` prints: every library, every gain, and where the page is; nothing else."""

from __future__ import annotations

from wbrag.cli.demo.story import ARMS, GAINS, tables


def test_the_result_is_three_short_tables() -> None:
    result = {name: 0.5 for name in ARMS} | {f"{name}_ci95": [0.4, 0.6] for name in ARMS}
    result |= {name: 0.05 for name in GAINS} | {f"{name}_ci95": [0.01, 0.09] for name in GAINS}
    result |= {f"{name}_p": 0.003 for name in GAINS} | {"units": 3, "seconds": 9.6, "page": "demo.html"}
    scores, gains, made = tables(result | {"enrich": {"examples": 8, "accepted": 4}})
    assert [row[1:] for row in scores[2]] == [["50.0", "40.0 to 60.0"]] * len(ARMS)
    assert [row[1:] for row in gains[2]] == [["+5.0", "+1.0 to +9.0", "0.003"]] * len(GAINS)
    assert made[2] == [["8", "4", "3", "10 s", "demo.html"]]
