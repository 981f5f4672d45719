"""What command lines share: errors of the library in the words of a command."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from igan_tf.errors import QUOTED_ARGUMENT, RECEIVED_ARGUMENT


def in_flags(error: BaseException | str, flag_names: Collection[str], names: Mapping[str, str] = {}) -> str:
    """A message of the library's in the words of a command: arguments become the flags of the same, or another, name.

    "`splits` must be at most 10. Received: splits=20" becomes "--splits must be at most 10. Received: --splits=20".

    Args:
        error: The error, or its message.
        flag_names: The command's flags.
        names: Flags, without dashes, by argument, where they have another name.
    """

    def quoted(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}{match[2] or ''}" if flag in flag_names else match[0]

    def received(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}" if flag in flag_names else match[0]

    text = QUOTED_ARGUMENT.sub(quoted, str(error))
    head, mark, tail = text.partition("Received: ")
    return head + mark + (RECEIVED_ARGUMENT.sub(received, tail) if mark else "")
