"""Files with one byte altered."""


def altered(path, masks=(1, 64, 255), step=1):
    """Alters the bytes of the file `path` one at a time, by each mask; yields (position, mask) while it is so.

    In the end the file is whole again.
    """
    whole = path.read_bytes()
    for position in range(0, len(whole), step):
        for mask in masks:
            content = bytearray(whole)
            content[position] ^= mask
            path.write_bytes(content)
            yield position, mask
    path.write_bytes(whole)
