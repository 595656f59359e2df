"""Fuzzing for an hour: `make fuzz`, or `FUZZ_MINUTES=5 make fuzz`.

The fuzz tests run again and again with new seeds. A seed that breaks something is printed, and kept by Hypothesis in
`.hypothesis`, from where the next run begins; mend it, and keep its input as a test of the fast lane.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time


def main() -> int:
    end = time.monotonic() + 60 * float(os.environ.get("FUZZ_MINUTES", "60"))
    rounds, broken = 0, list[int]()
    while time.monotonic() < end:
        seed = random.SystemRandom().randrange(2**32)
        line = [sys.executable, "-m", "pytest", "-q", "-m", "fuzz", "tests/fuzz", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "search"}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        rounds += 1
        left = max(0.0, end - time.monotonic()) / 60
        print(
            f"round {rounds}, seed {seed}: {'ok' if not done.returncode else 'BROKEN'}, {left:.0f} min left", flush=True
        )
        if done.returncode:
            broken.append(seed)
            print(done.stdout[-6000:], flush=True)
    print(f"{rounds} rounds, broken by {len(broken)} seeds: {broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
