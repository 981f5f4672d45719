import hashlib
import io
import os
import shutil
import zipfile

import keras
import numpy as np
import pytest

from igan_tf.files import durable
from igan_tf.training import CheckpointError, Checkpoints
from igan_tf.training import checkpoints as checkpoints_module
from igan_tf.training.checkpoints import differences, restore_state, state_of

ARRAYS = {
    "generator/000": np.random.default_rng(0).normal(size=(3, 4)).astype("float32"),
    "count": np.int64(2**40 + 1),
    "empty": np.zeros((0, 2), "float32"),
    "double": np.array([1 / 3, 5e-324]),
}
POSITION = {"step": 7, "sums": {"loss": 1 / 3}, "best": None}


class Killed(BaseException):
    """Stands for a death of the process."""


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def checkpoints(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", warn=warnings.append)


def save(checkpoints, *steps, best_steps=()):
    for step in steps:
        checkpoints.save(step, ARRAYS, {**POSITION, "step": step}, best_steps)


def assert_whole(loaded, step):
    arrays, position, _ = loaded
    assert position == {**POSITION, "step": step}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_round_trip(checkpoints):
    assert checkpoints.steps() == [] and checkpoints.load_newest() is None
    save(checkpoints, 7)
    assert_whole(checkpoints.load(7), 7)
    assert_whole(checkpoints.load_newest(), 7)
    assert sorted(path.name for path in checkpoints.path(7).iterdir()) == ["state.npz", "state.sha256"]


def test_the_digest_is_sha256sums(checkpoints):
    save(checkpoints, 7)
    folder = checkpoints.path(7)
    assert os.system(f"cd {folder} && sha256sum --check --status state.sha256") == 0


def test_the_last_two_and_the_best_stay(checkpoints):
    save(checkpoints, 1, 2)
    assert checkpoints.steps() == [1, 2]
    save(checkpoints, 3, 4, best_steps=[2])
    assert checkpoints.steps() == [2, 3, 4]
    save(checkpoints, 5, best_steps=[5])
    assert checkpoints.steps() == [4, 5]
    save(checkpoints, 6, 7, best_steps=[5])
    assert checkpoints.steps() == [5, 6, 7]


def test_damaged_later_ones_do_not_push_out_whole_ones(checkpoints):
    save(checkpoints, 4, 16, 20, best_steps=[4])
    for step in (16, 20):
        cut(checkpoints.path(step) / "state.npz")
    # Training went on from step 4.
    save(checkpoints, 8, 12)
    assert {8, 12} <= set(checkpoints.steps())
    save(checkpoints, 16, 20)
    assert_whole(checkpoints.load_newest(), 20)
    assert checkpoints.steps() == [16, 20]


def test_a_damaged_one_inside_an_epoch_is_none_of_the_last_two(checkpoints):
    save(checkpoints, 4, 6)
    cut(checkpoints.path(6) / "state.npz")
    assert_whole(checkpoints.load_newest(), 4)
    save(checkpoints, 7)
    assert checkpoints.steps() == [4, 6, 7]
    cut(checkpoints.path(7) / "state.npz")
    assert_whole(checkpoints.load_newest(), 4)
    save(checkpoints, 7, 8)
    assert checkpoints.steps() == [7, 8]
    save(checkpoints, 9)
    assert checkpoints.steps() == [8, 9]


def test_steps_are_in_the_order_of_numbers(checkpoints):
    save(checkpoints, 9, 10, 999_999_999, 1_000_000_000)
    assert checkpoints.steps() == [999_999_999, 1_000_000_000]


def test_the_same_step_can_be_saved_again(checkpoints):
    save(checkpoints, 7)
    checkpoints.save(7, {"other": np.ones(1)}, POSITION)
    assert set(checkpoints.load(7)[0]) == {"other"}
    assert checkpoints.steps() == [7]


def test_any_flipped_bit_is_noticed(checkpoints):
    save(checkpoints, 7)
    path = checkpoints.path(7) / "state.npz"
    whole = path.read_bytes()
    # Every byte would be 1,500 reads; every 7th, and the ends.
    for position in {*range(0, len(whole), 7), len(whole) - 1}:
        broken = bytearray(whole)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=f"{path.parent} is damaged: state.npz does not have the digest"):
            checkpoints.load(7)
    path.write_bytes(whole)
    assert_whole(checkpoints.load(7), 7)


@pytest.mark.parametrize("position", [0, 31, 63])
def test_a_flipped_bit_in_the_digest_is_noticed(checkpoints, position):
    save(checkpoints, 7)
    path = checkpoints.path(7) / "state.sha256"
    broken = bytearray(path.read_bytes())
    for bit in range(8):
        broken[position] ^= 1 << bit
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoints.load(7)
        broken[position] ^= 1 << bit


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


DAMAGES = {
    "state_cut": lambda folder: cut(folder / "state.npz"),
    "state_empty": lambda folder: empty(folder / "state.npz"),
    "state_longer": lambda folder: (folder / "state.npz").open("ab").write(b"\0"),
    "state_missing": lambda folder: (folder / "state.npz").unlink(),
    "digest_empty": lambda folder: empty(folder / "state.sha256"),
    "digest_missing": lambda folder: (folder / "state.sha256").unlink(),
    "digest_binary": lambda folder: (folder / "state.sha256").write_bytes(b"\xff\xff"),
    "all_missing": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_is_named_and_the_one_before_is_used(checkpoints, warnings, damage):
    save(checkpoints, 7, 12)
    damage(checkpoints.path(12))
    assert_whole(checkpoints.load_newest(), 7)
    assert len(warnings) == 1
    assert f"the checkpoint {checkpoints.path(12)} is damaged" in warnings[0] and "the one before" in warnings[0]


def test_a_state_that_is_no_archive_is_named_even_with_its_digest(checkpoints):
    save(checkpoints, 7)
    durable.write_text(checkpoints.path(7) / "state.npz", "no archive")
    durable.write_text(checkpoints.path(7) / "state.sha256", hashlib.sha256(b"no archive").hexdigest())
    with pytest.raises(CheckpointError, match=f"{checkpoints.path(7)} is damaged: File is not a zip file"):
        checkpoints.load(7)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"step": 8}, "it is step 8's"),
        ({"step": "7"}, r"\$.step: '7' is not of type 'integer'"),
        ({"step": -1}, r"\$.step: -1 is less than the minimum of 0"),
        ({"epoch": 1.5}, r"\$.epoch: 1.5 is not of type 'integer'"),
        ({"step_in_epoch": True}, r"\$.step_in_epoch: True is not of type 'integer'"),
        ({"sums": [1]}, r"\$.sums: \[1\] is not of type 'object'"),
        ({"sums": {"loss": "1"}}, r"\$.sums.loss: '1' is not of type 'number'"),
        ({"sums": {"step": 1.5}}, r"\$.sums.step: 1.5 should not be valid"),
        ({"best": {"step": 7}}, r"\$.best: .*"),
        ({"best_score": {"step": 7, "name": "a", "value": "b"}}, r"\$.best_score.value: 'b' is not of type 'number'"),
        ({"best": {"averaged_test_error": 0.1}}, r"\$.best: .*"),
        ({"best_score": {"step": 7}}, r"\$.best_score: .*"),
        ({"identity": []}, r"\$.identity: \[\] is not of type 'object'"),
        (
            {"identity": {"image_shape": [10**9, 10**9, 3]}},
            r"\$.identity.image_shape\[[01]\]: 1000000000 is greater than the maximum",
        ),
        ({"identity": {"num_classes": 10**12}}, r"\$.identity.num_classes: 1000000000000 is greater than the maximum"),
        ({"code": 1}, r"\$: Additional properties are not allowed"),
    ],
)
def test_a_position_is_believed_in_nothing(checkpoints, warnings, about, words):
    save(checkpoints, 3)
    # With the right digest.
    checkpoints.save(7, ARRAYS, {**POSITION, **about})
    with pytest.raises(CheckpointError, match=f"{checkpoints.path(7)} is damaged: {words}"):
        checkpoints.load(7)
    assert_whole(checkpoints.load_newest(), 3)
    assert len(warnings) == 1


def test_a_step_that_is_saved_again_is_there_at_every_moment(checkpoints, monkeypatch):
    """A death while what was there before is removed: by then the new one has its place."""
    save(checkpoints, 7)

    def die(path, **options):
        raise Killed

    monkeypatch.setattr(durable.disk, "remove", die)
    with pytest.raises(Killed):
        checkpoints.save(7, {"other": np.ones(1)}, POSITION)
    assert set(checkpoints.load(7).arrays) == {"other"}


@pytest.mark.parametrize("name", [".step-000000007.tmp", ".step-000000007.1.tmp"])
@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "link to nothing", "pipe", "file"])
def test_nothing_planted_under_a_temporary_name_is_used(checkpoints, tmp_path, name, kind):
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("mine")
    checkpoints.folder.mkdir()
    planted = checkpoints.folder / name
    if kind == "pipe":
        os.mkfifo(planted)
    elif kind == "file":
        planted.write_text("planted")
    else:
        planted.symlink_to({"folder": home, "file": home / "file", "nothing": home / "new"}[kind.split()[-1]])
    save(checkpoints, 7)
    assert_whole(checkpoints.load(7), 7)
    assert [path.name for path in home.iterdir()] == ["file"] and (home / "file").read_text() == "mine"


def test_a_linked_step_does_not_count(checkpoints, tmp_path):
    save(checkpoints, 7)
    checkpoints.path(7).rename(tmp_path / "elsewhere")
    checkpoints.path(7).symlink_to(tmp_path / "elsewhere")
    assert checkpoints.steps() == [] and checkpoints.load_newest() is None


def test_exchanged_steps_are_noticed(checkpoints, warnings):
    save(checkpoints, 7, 12)
    paths = checkpoints.path(7), checkpoints.path(12)
    paths[0].rename(checkpoints.folder / "aside")
    paths[1].rename(paths[0])
    (checkpoints.folder / "aside").rename(paths[1])
    with pytest.raises(CheckpointError, match="is whole"):
        checkpoints.load_newest()
    assert "it is step 7's" in warnings[0] and "it is step 12's" in warnings[1]


@pytest.mark.parametrize("name", ["step-1", "step-0000000003", "step-", "step-000000001x"])
def test_a_stray_folder_neither_counts_nor_ends_a_training(checkpoints, name):
    checkpoints.folder.mkdir()
    (checkpoints.folder / name).mkdir()
    (checkpoints.folder / "step-000000002").write_text("a file")
    save(checkpoints, 7, 12, 13)
    assert checkpoints.steps() == [12, 13] and (checkpoints.folder / name).is_dir()


def test_a_claim_of_more_bytes_than_there_are_allocates_nothing(checkpoints):
    """A header of ten million million numbers, in an archive with the right checksums and digest."""
    save(checkpoints, 7)
    path = checkpoints.path(7) / "state.npz"
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**6)}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("huge.npy", header.getvalue() + bytes(64))
    durable.write_text(path.with_suffix(".sha256"), hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match=r"huge does not have the bytes of its shape \(10000000, 1000000\)"):
        checkpoints.load(7)


def test_a_reader_takes_the_next_where_a_trainer_removes_what_it_reads(checkpoints, warnings, monkeypatch):
    save(checkpoints, 7)
    read_digest = Checkpoints.digest

    def digest_while_a_trainer_goes_on(self, step):
        found = read_digest(self, step)
        if step == 7:
            save(checkpoints, 12, 13, 14)
        return found

    monkeypatch.setattr(Checkpoints, "digest", digest_while_a_trainer_goes_on)
    assert_whole(checkpoints.load_newest(), 14)
    assert warnings == []


def test_a_reader_keeps_what_it_has_opened(checkpoints, monkeypatch):
    save(checkpoints, 7)
    original = checkpoints_module.open_file_digest

    def digest_while_a_trainer_goes_on(file):
        save(checkpoints, 12, 13)
        assert not checkpoints.path(7).exists()
        return original(file)

    monkeypatch.setattr(checkpoints_module, "open_file_digest", digest_while_a_trainer_goes_on)
    assert_whole(checkpoints.load(7), 7)


def test_no_pickle_is_ever_loaded(checkpoints):
    with pytest.raises(CheckpointError, match=r"code has the shape .* and the type object"):
        checkpoints.save(7, {"code": np.array([object()])}, POSITION)
        checkpoints.load(7)


def test_nothing_whole_is_an_error_not_a_fresh_start(checkpoints, warnings):
    save(checkpoints, 7, 12)
    for step in (7, 12):
        cut(checkpoints.path(step) / "state.npz")
    with pytest.raises(CheckpointError, match=f"no checkpoint in {checkpoints.folder} is whole"):
        checkpoints.load_newest()
    assert [str(checkpoints.path(12)) in warnings[0], str(checkpoints.path(7)) in warnings[1]] == [True, True]


@pytest.mark.parametrize("function", ["fsync", "rename"])
@pytest.mark.parametrize("call", range(3))
def test_death_while_writing_leaves_no_half_checkpoint(checkpoints, monkeypatch, function, call):
    """Dies before the n-th sync or rename; a dead process cleans nothing up, so cleaning is disabled too."""
    save(checkpoints, 7)
    calls = iter(range(100))
    original = getattr(os, function)

    def die(*args, **kwargs):
        if next(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, die)
        patch.setattr(os, "replace", die if function == "rename" else os.replace)
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            save(checkpoints, 12)
    assert_whole(checkpoints.load_newest(), 7)
    assert checkpoints.steps() == [7]
    save(checkpoints, 12)
    assert_whole(checkpoints.load_newest(), 12)


def test_a_leftover_temporary_folder_is_no_checkpoint(checkpoints, warnings):
    save(checkpoints, 7)
    shutil.copytree(checkpoints.path(7), checkpoints.folder / ".step-000000012.tmp")
    (checkpoints.folder / "step-000000012.orig").mkdir()
    (checkpoints.folder / "notes").mkdir()
    assert_whole(checkpoints.load_newest(), 7)
    assert checkpoints.steps() == [7] and warnings == []
    save(checkpoints, 9)
    assert sorted(path.name for path in checkpoints.folder.glob(".*")) == []


def test_a_checkpoint_that_goes_is_never_seen_in_part(checkpoints, monkeypatch):
    save(checkpoints, 7, 12)
    remove = durable.disk.remove

    def removing(path, **options):
        assert not checkpoints.path(7).exists()
        remove(path, **options)

    monkeypatch.setattr(durable.disk, "remove", removing)
    save(checkpoints, 13)
    assert checkpoints.steps() == [12, 13]


# Restoring.


def make_variables():
    return {
        "generator/000": keras.Variable(np.zeros((3, 4), "float32")),
        "generator/001": keras.Variable(np.zeros(2, "float32")),
    }


def test_restore_gives_back_what_state_of_took():
    variables, others = make_variables(), make_variables()
    for value, variable in enumerate(variables.values(), start=1):
        variable.assign(np.full(variable.shape, value / 3, "float32"))
    restore_state(others, state_of(variables), "here")
    for name, variable in variables.items():
        np.testing.assert_array_equal(others[name].numpy(), variable.numpy())


def test_another_network_is_refused_with_every_difference_before_anything_changes():
    variables = make_variables()
    arrays = {"generator/000": np.ones((3, 4), "float32"), "generator/001": np.ones((2, 5), "float32")}
    arrays["discriminator/000"] = np.ones(1)
    variables["extra"] = keras.Variable(np.zeros(1))
    with pytest.raises(CheckpointError) as caught:
        restore_state(variables, arrays, "the file")
    message = str(caught.value)
    assert message.startswith("the file is of another network:")
    assert "generator/001: (2, 5) in the checkpoint, (2,) in the network" in message
    assert "discriminator/000: not in the network" in message
    assert "extra: not in the checkpoint" in message
    assert "generator/000" not in message


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones(2), "generator/001: float64 in the checkpoint, float32 in the network"),
        (np.array([1, np.nan], "float32"), "generator/001: not finite"),
    ],
)
def test_arrays_of_another_type_or_that_are_not_finite_are_refused(array, words):
    variables = make_variables()
    with pytest.raises(CheckpointError, match=words):
        restore_state(variables, {"generator/000": np.ones((3, 4), "float32"), "generator/001": array}, "the file")
    assert all((variable.numpy() == 0).all() for variable in variables.values())


def test_nothing_is_assigned_before_all_is_right():
    variables = make_variables()
    with pytest.raises(CheckpointError):
        restore_state(variables, {"generator/000": np.ones((3, 4), "float32")}, "the file")
    assert all((variable.numpy() == 0).all() for variable in variables.values())


def test_differences_name_both_values():
    saved = {"--seed": 1, "--adam": "outside", "shape": [8, 8]}
    assert differences(saved, dict(saved)) == []
    assert differences(saved, {"--seed": 3, "--adam": "inside_root", "shape": [8, 8]}) == [
        "--seed: the run was started with 1, now 3",
        "--adam: the run was started with 'outside', now 'inside_root'",
    ]


def test_what_only_one_side_knows_is_no_difference():
    # Settings newer, or older, than the run.
    assert differences({"--old": 1}, {"--new": 2}) == []


def test_a_long_list_of_differences_is_cut():
    with pytest.raises(CheckpointError, match="and 5 more"):
        restore_state({}, {f"v{index:02d}": np.ones(1) for index in range(15)}, "the file")
