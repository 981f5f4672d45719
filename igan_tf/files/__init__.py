"""What everything that writes files shares: durable writes, locks, digests, and what damage raises."""

import os

StrPath = str | os.PathLike[str]
