"""What is opened and read of the disk, and what is not."""

import pytest

from igan_tf.files import disk


def test_a_link_is_followed_or_refused_by_name(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("file")
    with disk.open_file(tmp_path / "link") as file:
        assert file.read() == b"1234"
    with pytest.raises(disk.UnusableFile, match="link is a symbolic link"):
        disk.open_file(tmp_path / "link", follow=False)
    for follow in (True, False):
        with pytest.raises(FileNotFoundError):
            disk.open_file(tmp_path / "none", follow=follow)


def test_no_more_is_read_than_may_be(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    assert disk.read_small(tmp_path / "file", 4) == b"1234"
    with pytest.raises(disk.UnusableFile, match="file has more than 3 bytes"):
        disk.read_small(tmp_path / "file", 3)
