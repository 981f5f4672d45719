"""What everything that writes shares: durable writes, locks, digests, and what damage looks like."""
