"""What a generator can minimise; imports nothing, for the commands' sake."""

GENERATOR_OBJECTIVES = ("feature_matching", "minimax", "non_saturating")
