"""What a missing or damaged file raises when it is read."""

import zipfile
import zlib

# Opening, unpacking and understanding a zip file (.npz, .keras). A flipped bit may stand anywhere: in the directory
# (BadZipFile, KeyError), in a flag that then asks for a password (RuntimeError), in the compression's number
# (NotImplementedError), in the compressed bytes (zlib.error, EOFError) or in the header of an array (ValueError,
# TypeError).
UNREADABLE_ZIP: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
