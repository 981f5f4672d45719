"""Arrays that are read back: what is not as expected is named, and nothing is allocated for what is only promised."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from igan_tf.files.arrays import Array, read_arrays
from igan_tf.files.disk import UnusableFile
from igan_tf.files.json_files import DamagedFile

EXPECTED = {"weights": Array(("float32",), (3, None)), "name": Array(("str96",), ())}
ARRAYS = {"weights": np.arange(12, dtype="float32").reshape(3, 4), "name": np.array("abc")}


def npy(header, content=b""):
    """An .npy of a header of one's own."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, **header})
    return file.getvalue() + content


def write(path, compression=zipfile.ZIP_STORED, **members):
    """An .npz of `ARRAYS`, members given as bytes in the place of an array, or beside them."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in {**ARRAYS, **members}.items():
            if isinstance(array, np.ndarray):
                file = io.BytesIO()
                np.save(file, array)
                array = file.getvalue()
            archive.writestr(f"{name}.npy", array)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_saved_is_read(tmp_path, save, order):
    save(tmp_path / "a.npz", **{**ARRAYS, "weights": np.asarray(ARRAYS["weights"], order=order)})
    found = read_arrays(tmp_path / "a.npz", EXPECTED)
    np.testing.assert_array_equal(found["weights"], ARRAYS["weights"])
    assert set(found) == {"weights", "name"} and str(found["name"]) == "abc"


def test_what_may_be_there(tmp_path):
    path = write(tmp_path / "a.npz", more=np.zeros(2))
    more = {"more": Array(("float64",), (2,))}
    assert set(read_arrays(path, EXPECTED, more)) == {"weights", "name", "more"}
    assert set(read_arrays(write(path), EXPECTED, more)) == {"weights", "name"}
    assert set(read_arrays(write(path, other=b"no array"), EXPECTED, others=True)) == {"weights", "name"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"weights": np.zeros((3, 4))}, r"the array weights has the shape \(3, 4\) and the type float64"),
        ({"weights": np.zeros((2, 4), "float32")}, r"the array weights has the shape \(2, 4\)"),
        ({"weights": np.zeros(3, "float32")}, r"the array weights has the shape \(3,\)"),
        ({"weights": np.full((3, 4), None)}, "the type object"),
        ({"weights": npy({"shape": (3, 10**12)})}, "does not have the bytes of its shape"),
        ({"weights": npy({"shape": (3, -1)})}, "does not have the bytes of its shape"),
        ({"weights": npy({"shape": (3, 1)}, bytes(16))}, "does not have the bytes of its shape"),
        ({"weights": npy({"shape": (3, 1)}, bytes(8))}, "does not have the bytes of its shape"),
        ({"weights": b"no array"}, "magic"),
        ({"more": np.zeros(2)}, "nobody knows the array more in it"),
    ],
)
def test_what_is_not_expected_is_named_and_not_allocated(tmp_path, members, message):
    path = write(tmp_path / "a.npz", **members)
    tracemalloc.start()
    with pytest.raises(DamagedFile, match=rf"^{path} is damaged: .*{message}"):
        read_arrays(path, EXPECTED)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, weights=npy({"shape": (3, 2**23)}, bytes(12 * 2**23)))
    assert path.stat().st_size < 2**20
    with pytest.raises(DamagedFile, match=r"is damaged: its \d+ bytes are packed from \d+"):
        read_arrays(path, EXPECTED)


def test_a_compression_that_numpy_never_uses_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", zipfile.ZIP_BZIP2, weights=npy({"shape": (3, 2)}, bytes(24)))
    with pytest.raises(DamagedFile, match="compressed in a way that NumPy never uses"):
        read_arrays(path, EXPECTED)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", EXPECTED)
    np.savez(tmp_path / "less.npz", weights=ARRAYS["weights"])
    with pytest.raises(DamagedFile, match="it must hold the arrays"):
        read_arrays(tmp_path / "less.npz", EXPECTED)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DamagedFile, match="not a zip file"):
        read_arrays(tmp_path / "text.npz", EXPECTED)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UnusableFile, match="no regular file"):
        read_arrays(tmp_path / "pipe.npz", EXPECTED)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        for name in ("weights", "weights", "name"):
            archive.writestr(f"{name}.npy", b"")
    with pytest.raises(DamagedFile, match="each once"):
        read_arrays(tmp_path / "twice.npz", EXPECTED)
