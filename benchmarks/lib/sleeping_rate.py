"""The name of the environment variable that says how fast `SleepingExecutor` is; imports nothing of vLLM."""

RATE = "WBRAG_BENCH_TOKENS_PER_S"  # of one engine
