"""Files with one byte altered."""


def altered(path, positions=None, masks=(1, 64, 255)):
    """Alters the bytes of the file `path` one at a time, by each mask; yields (position, mask) while it is so.

    Args:
        path: The file; in the end it is whole again.
        positions: Of the bytes; None: all.
        masks: What a byte is combined with by an exclusive or: a bit, or several.
    """
    whole = path.read_bytes()
    for position in range(len(whole)) if positions is None else positions:
        for mask in masks:
            content = bytearray(whole)
            content[position] ^= mask
            path.write_bytes(content)
            yield position, mask
    path.write_bytes(whole)
