"""What `strategy` chooses from, and its settings; imports nothing, for the commands' sake."""

STRATEGIES = ("auto", "single", "mirrored", "multi_worker")
# Minutes that a worker waits for missing ones.
WORKER_TIMEOUT_MINUTES = 10.0
# Megabytes of gradients in one all-reduce.
ALL_REDUCE_MEGABYTES = 32
