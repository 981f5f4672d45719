"""What everything that writes shares: durable writes, locks, digests, and what damage looks like."""

import os

StrPath = str | os.PathLike[str]
