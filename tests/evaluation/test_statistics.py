"""Features and statistics on disk."""

import json

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import FeatureMoments, FeatureStatistics, frechet_distance, load_statistics, save_statistics
from igan_tf.evaluation.statistics import check_same_extractor, is_statistics_file
from tests.evaluation.damage import altered

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


def test_a_file_of_which_any_byte_is_altered(tmp_path):
    """Refused, or read as it was: some bytes, such as a date, mean nothing here. None is lost without a word."""
    path = tmp_path / "real.npz"
    save_statistics(path, statistics(FEATURES[:3]))
    whole = load_statistics(path)
    refused = 0
    for place in altered(path):
        is_statistics_file(path)
        try:
            found = load_statistics(path)
        except EvaluationError as error:
            refused += 1
            assert f"the statistics {path} cannot be read: " in str(error)
            continue
        assert found.features is not None, place
        for name in ("classifier", "classifier_digest", "protocol", "source", "split", "count"):
            assert getattr(found, name) == getattr(whole, name), place
        np.testing.assert_array_equal(found.features, whole.features)
        np.testing.assert_array_equal(found.moments.mean, whole.moments.mean)
        np.testing.assert_array_equal(found.moments.covariance, whole.moments.covariance)
    assert refused > len(path.read_bytes())


def change(path, about=None, **arrays):
    """Writes a statistics file anew with some of its arrays, or of what it says of itself, changed; None: left out."""
    with np.load(path) as file:
        arrays = {**{name: file[name] for name in file.files}, **arrays}
    said = {**json.loads(arrays["about"].tobytes()), **(about or {})}
    said = {name: value for name, value in said.items() if value is not None}
    arrays["about"] = np.frombuffer(json.dumps(said).encode(), "uint8")
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": None},
            r"must hold the arrays \['covariance', 'features', 'mean'\], not \['covariance', 'mean'\]",
        ),
        ({"mean": np.full(4, np.nan)}, "`mean` must be finite"),
        ({"mean": np.zeros(3)}, r"\(D,\) and \(D, D\). Received: shapes \(3,\) and \(4, 4\)"),
        ({"mean": np.zeros((4, 1))}, r"the array mean has the shape \(4, 1\) and the type float64"),
        ({"mean": np.zeros(4, "float32")}, r"the array mean has the shape \(4,\) and the type float32"),
        ({"mean": np.full(4, None)}, r"the array mean has the shape \(4,\) and the type object"),
        ({"more": np.zeros(4)}, "nobody knows the array more in it"),
        ({"about": {"split": 3}}, r"\$\.split: 3 is not of type 'string'"),
        ({"about": {"count": 10**30}}, r"\$\.count: 10{30} is greater than the maximum"),
        ({"about": {"arrays": "mean"}}, r"\$\.arrays: 'mean' is not of type 'array'"),
        ({"about": {"path": "/"}}, "'path' was unexpected"),
        ({"about": {"source": None}}, "'source' is a required property"),
        ({"covariance": np.eye(2)}, r"Received: shapes \(4,\) and \(2, 2\)"),
        ({"covariance": np.eye(4) + np.eye(4, k=1)}, "`covariance` must be symmetric. .* differ by up to 1$"),
        ({"covariance": np.eye(4) * np.inf}, "`covariance` must be finite"),
        ({"features": np.zeros((5, 3), "float32")}, r"features of shape \(5, 3\) beside a mean of 4 dimensions"),
        ({"features": np.full((5, 4), np.inf, "float32")}, "`features` must be finite"),
        ({"about": {"count": 1}}, "`count` must be a whole number of at least 2. Received: count=1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_mean_and_covariance_is_refused(tmp_path, changes, message):
    path = tmp_path / "real.npz"
    save_statistics(path, statistics())
    change(path, **changes)
    with pytest.raises(EvaluationError, match=f"the statistics {path} cannot be read: .*{message}"):
        load_statistics(path)


def test_a_file_of_before_the_names_of_arrays_were_written(tmp_path):
    path = tmp_path / "real.npz"
    save_statistics(path, statistics())
    change(path, about={"arrays": None})
    np.testing.assert_array_equal(load_statistics(path).features, FEATURES)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros((2, 3, 3, 1)))
    assert not is_statistics_file(path) and not is_statistics_file(tmp_path) and not is_statistics_file("")
    with pytest.raises(EvaluationError, match=r"cannot be read: it must hold the arrays \['about', "):
        load_statistics(path)
    save_statistics(path, statistics())
    change(path, about={"format": "igan_tf statistics 0"})
    with pytest.raises(EvaluationError, match=r"of another version: 'igan_tf statistics 0'"):
        load_statistics(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_statistics_of_others(tmp_path, write):
    path = tmp_path / "fid.npz"
    own = FeatureMoments.of(FEATURES)
    write(path, mu=own.mean, sigma=own.covariance)
    assert is_statistics_file(path)
    found = load_statistics(path)
    assert (found.source, found.split) == (str(path), "mu and sigma") and found.features is None
    # Nobody recorded these.
    assert found.count == 0 and found.classifier == found.classifier_digest == found.protocol == ""
    np.testing.assert_array_equal(found.moments.mean, own.mean)
    np.testing.assert_array_equal(found.moments.covariance, own.covariance)
    with pytest.raises(EvaluationError, match="moments of an unknown number of samples"):
        found.moments.update(FEATURES)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_statistics_of_others_that_were_rounded(tmp_path, kind):
    """Of a singular covariance rounding leaves eigenvalues below 0, and products of float32 leave halves apart."""
    half = np.random.default_rng(0).normal(size=(6, 3))
    sigma = (half @ half.T).astype(kind)
    sigma[0, 1] = np.nextafter(sigma[0, 1], np.array(np.inf, kind))
    assert np.linalg.eigvalsh(sigma.astype(float))[0] < -1e-8 * sigma.max()
    np.savez(tmp_path / "fid.npz", mu=np.zeros(6, kind), sigma=sigma)
    found = load_statistics(tmp_path / "fid.npz").moments.covariance
    np.testing.assert_allclose(found, sigma, rtol=0, atol=4 * np.finfo(kind).eps * float(sigma.max()))
    np.testing.assert_array_equal(found, found.T)
    sigma[0, 0] = sigma[0, 0] / 2
    np.savez(tmp_path / "fid.npz", mu=np.zeros(6, kind), sigma=sigma)
    with pytest.raises(EvaluationError, match=r"negative eigenvalue|must be symmetric"):
        load_statistics(tmp_path / "fid.npz")


_SIGMA = np.eye(4)


@pytest.mark.parametrize(
    ("mu", "sigma", "message"),
    [
        (np.zeros(4), np.where(_SIGMA, np.nan, 0), "`sigma` must be finite"),
        (np.full(4, np.inf), _SIGMA, "`mu` must be finite"),
        (np.zeros(4), _SIGMA[:3], r"`mu` and `sigma` must have .*Received: shapes \(4,\) and \(3, 4\)"),
        (np.zeros(5), _SIGMA, r"Received: shapes \(5,\) and \(4, 4\)"),
        (np.zeros((1, 4)), _SIGMA, r"the array mu has the shape \(1, 4\)"),
        (np.zeros(4), np.eye(4, k=1) + _SIGMA, "`sigma` must be symmetric"),
        (np.zeros(4), 1 - _SIGMA, "a covariance must have no negative eigenvalue"),
        (np.zeros(4), -_SIGMA, "a covariance must have no negative eigenvalue"),
        (np.zeros(4), np.full((4, 4), None), "the array sigma has the shape .* and the type object"),
    ],
)
def test_a_sigma_that_is_no_covariance_is_refused(tmp_path, mu, sigma, message):
    path = tmp_path / "fid.npz"
    np.savez(path, mu=mu, sigma=sigma)
    with pytest.raises(EvaluationError, match=f"the statistics {path} cannot be read: .*{message}"):
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

    check_same_extractor(statistics(), Same, "reference")
    with pytest.raises(EvaluationError, match=f"`reference` must come from the classifier in use: its .*'{value}'"):
        check_same_extractor(statistics(**{name: value}), Same, "reference")
    for theirs, ours in (("", "crop"), ("crop", ""), ("crop", "crop")):
        check_same_extractor(statistics(fit=theirs), Same, "reference", ours)
    with pytest.raises(EvaluationError, match=r"`reference` .*: its fit is 'crop', not 'pad with white'"):
        check_same_extractor(statistics(fit="crop"), Same, "reference", "pad with white")
