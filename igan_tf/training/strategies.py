"""What `strategy` chooses from; imports nothing, for the commands' sake."""

STRATEGIES = ("auto", "single", "mirrored", "multi_worker")
