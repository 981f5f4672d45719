"""Features and statistics on disk."""

import json

import numpy as np
import pytest

from igan_tf.evaluation import (
    EvaluationError,
    FeatureMoments,
    FeatureStatistics,
    frechet_distance,
    load_statistics,
    save_statistics,
)
from igan_tf.evaluation.statistics import check_same_extractor, is_statistics_file

FEATURES = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")


def statistics(features=FEATURES, **changes):
    about = {
        "classifier": "domain(digits)",
        "classifier_digest": "ab" * 32,
        "protocol": "resize: none",
        "source": "digits",
        "split": "test",
    }
    return FeatureStatistics(FeatureMoments.of(FEATURES), features, **{**about, **changes})


@pytest.mark.parametrize("features", [FEATURES, None], ids=["with_features", "without"])
def test_what_is_saved_is_read(tmp_path, features):
    path = tmp_path / "real.npz"
    save_statistics(path, statistics(features))
    assert [file.name for file in tmp_path.iterdir()] == ["real.npz"] and is_statistics_file(path)
    found = load_statistics(path)
    assert found.count == 50
    for name in ("classifier", "classifier_digest", "protocol", "source", "split"):
        assert getattr(found, name) == getattr(statistics(), name)
    np.testing.assert_array_equal(found.moments.mean, statistics().moments.mean)
    # Divided by N - 1 and multiplied again: a last place.
    np.testing.assert_allclose(found.moments.covariance, statistics().moments.covariance, rtol=1e-15)
    if features is None:
        assert found.features is None
    else:
        np.testing.assert_array_equal(found.features, features)
    other = np.random.default_rng(1).normal(size=(30, 4))
    assert frechet_distance(other, found.moments) == pytest.approx(frechet_distance(other, FEATURES), rel=1e-12)


def test_the_file_says_what_it_is_of(tmp_path):
    save_statistics(tmp_path / "real.npz", statistics())
    with np.load(tmp_path / "real.npz", allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
    assert about["classifier_digest"] == "ab" * 32 and about["count"] == 50 and about["split"] == "test"


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "real.npz"
    save_statistics(path, statistics())
    whole = path.read_bytes()
    for position in (200, len(whole) // 2, len(whole) // 2 + 300):
        content = bytearray(whole)
        content[position] ^= 16
        path.write_bytes(content)
        with pytest.raises(EvaluationError, match=f"the statistics {path} cannot be read"):
            load_statistics(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(EvaluationError, match=r"cannot be read"):
        load_statistics(path)
    with pytest.raises(EvaluationError, match=r"nowhere.npz cannot be read"):
        load_statistics(tmp_path / "nowhere.npz")


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros((2, 3, 3, 1)))
    assert not is_statistics_file(path) and not is_statistics_file(tmp_path) and not is_statistics_file("")
    with pytest.raises(EvaluationError, match=r"cannot be read: 'about'"):
        load_statistics(path)
    save_statistics(path, statistics())
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = {**json.loads(arrays["about"].tobytes()), "format": "igan_tf statistics 0"}
    np.savez(path, **{**arrays, "about": np.frombuffer(json.dumps(about).encode(), "uint8")})
    with pytest.raises(EvaluationError, match=r"of another version: 'igan_tf statistics 0'"):
        load_statistics(path)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(EvaluationError, match=r"cannot be written"):
        save_statistics(tmp_path / "none" / "a.npz", statistics())


@pytest.mark.parametrize(
    ("name", "value"), [("classifier", "inception"), ("classifier_digest", "cd" * 32), ("protocol", "resize: other")]
)
def test_another_extractor_is_refused(name, value):
    class Same:
        name, digest, protocol = "domain(digits)", "ab" * 32, "resize: none"

    check_same_extractor(statistics(), Same, "--reference")
    with pytest.raises(EvaluationError, match=f"--reference must come from the classifier in use: its .*'{value}'"):
        check_same_extractor(statistics(**{name: value}), Same, "--reference")
