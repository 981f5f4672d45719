"""The 2015 graph's path, with a stand-in of the same form: 299x299 in, 2048 features, 1008 logits."""

import contextlib
import gzip
import hashlib
import http.server
import shutil
import tarfile
import threading

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers import inception
from igan_tf.evaluation.classifiers.files import digest_of
from tests.evaluation.damage import altered


class StandIn(tf.Module):
    """Mean colour -> 2048 features -> logits with a bias; as a published module, callable, with a dict of outputs."""

    def __init__(self, num_outputs=1008, last="add"):
        super().__init__()
        # Few different values: small once compressed.
        self.spread = tf.Variable(np.tile([[1.0, -1, 2], [0, 1, -1], [2, 1, 0]], (1, 683))[:, :2048], dtype=tf.float32)
        kernel = (np.arange(2048)[:, None] * np.arange(1, num_outputs + 1) % 7 - 3) / 100
        self.kernel = tf.Variable(kernel, dtype=tf.float32)
        self.bias = tf.Variable(np.arange(num_outputs) % 5, dtype=tf.float32)
        self.last = last

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3), tf.float32)])
    def __call__(self, images):
        features = tf.reshape(tf.nn.relu(tf.reduce_mean(images, (1, 2)) @ self.spread), (-1, 1, 1, 2048))
        flat = tf.reshape(features, (-1, 2048))
        if self.last == "softmax":
            return {"logits": tf.nn.softmax(flat @ self.kernel), "pool_3": features}
        if self.last == "no dict":
            return flat @ self.kernel
        if self.last == "no features":
            return {"logits": flat @ self.kernel}
        product = flat @ self.kernel
        with_bias = product + self.bias if self.last == "add" else self.bias + product
        if self.last == "bias_add":
            with_bias = tf.nn.bias_add(product, self.bias)
        return {"logits": tf.identity(with_bias), "pool_3": features}


class OfAnotherSize(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def __call__(self, images):
        return {"logits": images[:, 0, 0], "pool_3": images[:, 0, 0]}


def pack(folder, name, module):
    """Saves a module and packs it as TF-Hub serves it; returns the archive."""
    tf.saved_model.save(module, str(folder / name))
    archive = folder / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        for path in sorted((folder / name).iterdir()):
            file.add(path, path.name)
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("stand_in"), "inception", StandIn())


def images(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype="uint8")


def expected(count=3, bias=True):
    """The stand-in in NumPy: resizing up by half-pixel bilinear interpolation is left to TensorFlow."""
    pixels = tf.image.resize(images(count).astype("float32"), (299, 299)).numpy() / 128 - 1
    stand_in = StandIn()
    features = np.maximum(pixels.mean(axis=(1, 2)) @ stand_in.spread.numpy(), 0)
    return features @ stand_in.kernel.numpy() + (stand_in.bias.numpy() if bias else 0), features


def test_from_an_archive(archive):
    classifier = load_classifier("inception", path=archive)
    outputs = classifier(images())
    logits, features = expected()
    assert outputs.values.shape == (3, 1008) and outputs.features.shape == (3, 2048)
    np.testing.assert_allclose(outputs.features, features, atol=1e-4)
    np.testing.assert_allclose(outputs.values, logits, atol=1e-2)
    assert classifier.digest == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert classifier.name == "inception" and classifier.from_logits


def test_from_its_folder_with_a_folders_digest(archive):
    folder = archive.parent / "inception"
    classifier = load_classifier("inception", path=folder, sha256=digest_of(folder))
    np.testing.assert_allclose(classifier(images()).values, expected()[0], atol=1e-2)


@pytest.mark.parametrize("last", ["add", "add_first", "bias_add"])
def test_the_original_protocol_leaves_the_bias_out(tmp_path, archive, last):
    path = archive if last == "add" else pack(tmp_path, "other", StandIn(last=last))
    classifier = load_classifier("inception", path=path, protocol="original")
    outputs = classifier(images())
    logits, features = expected(bias=False)
    np.testing.assert_allclose(outputs.values, logits, atol=1e-2)
    np.testing.assert_allclose(outputs.features, features, atol=1e-4)
    assert np.abs(outputs.values - load_classifier("inception", path=path)(images()).values).max() > 3.9
    assert "original" in classifier.name


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (StandIn(num_outputs=1000), r"must give logits of the shape \(None, 1008\).* Received: .*\(None, 1000\)"),
        (StandIn(last="softmax"), "product of 1008 outputs .* ends in Identity"),
        (StandIn(last="no features"), r"must have the outputs logits and pool_3. Received: \['logits'\]"),
        (StandIn(last="no dict"), r"must have the outputs logits and pool_3. Received: Tensor"),
        (OfAnotherSize(), r"other.tar.gz` holds no Inception graph that can be read: .*"),
    ],
    ids=["1000 outputs", "softmax", "no features", "no dict", "another size"],
)
def test_a_graph_of_another_form_is_refused(tmp_path, module, message):
    path = pack(tmp_path, "other", module)
    with pytest.raises(EvaluationError, match=message):
        load_classifier("inception", path=path, protocol="original")


def test_a_pinned_digest(archive):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert load_classifier("inception", path=archive, sha256=digest).digest == digest
    with pytest.raises(EvaluationError, match=f"which is {digest}. Received: sha256={'0' * 64}"):
        load_classifier("inception", path=archive, sha256="0" * 64)


def test_what_is_no_saved_model(tmp_path, archive):
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[:5000])
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (half, empty, shutil.copy(__file__, tmp_path / "text.tar.gz")):
        with pytest.raises(EvaluationError, match=f"^`path={path}` holds no Inception graph that can be read"):
            load_classifier("inception", path=path)


def test_an_archive_of_which_a_byte_is_altered(tmp_path, archive):
    """Refused, or read as it was: here and there in its content, everywhere in the checksum at its end."""
    path = tmp_path / "inception.tar.gz"
    shutil.copy(archive, path)
    size = path.stat().st_size
    refused = 0
    for place in altered(path, [*range(0, size, size // 60), *range(size - 8, size)]):
        try:
            classifier = load_classifier("inception", path=path)
        except EvaluationError as error:
            refused += 1
            assert f"`path={path}` holds no Inception graph that can be read: " in str(error)
            continue
        np.testing.assert_allclose(classifier(images()).values, expected()[0], atol=1e-2, err_msg=str(place))
    assert refused > 3 * 60


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_a_folder_of_which_a_byte_is_altered(tmp_path, archive, name):
    """A folder has no checksum of its own: only that there is a message, where it cannot be used."""
    folder = shutil.copytree(archive.parent / "inception", tmp_path / "inception")
    size = (folder / name).stat().st_size
    refused = 0
    for _ in altered(folder / name, range(0, size, size // 60), (64,)):
        try:
            load_classifier("inception", path=folder)
        except EvaluationError:
            refused += 1
    assert refused > 10


@contextlib.contextmanager
def served(content, monkeypatch, length=True):
    """Serves `content` in place of the graph; gives the list of what was asked for."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            if length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(inception, "archive_url", lambda: f"http://127.0.0.1:{server.server_port}/inception")
        yield requests
        server.shutdown()


def test_fetched_on_first_use(tmp_path, archive, monkeypatch):
    content = archive.read_bytes()
    lines = []
    with served(content, monkeypatch) as requests:
        for _ in range(2):
            classifier = load_classifier("inception", cache_dir=tmp_path, report=lines.append)
            np.testing.assert_allclose(classifier(images()).values, expected()[0], atol=1e-2)
    assert requests == ["/inception"] and len(lines) == 2
    assert classifier.digest == hashlib.sha256(content).hexdigest() and classifier.digest in lines[1]


@pytest.mark.parametrize("bad", ["page", "cut", "other archive"])
def test_what_is_served_in_its_place_is_not_kept(tmp_path, archive, monkeypatch, bad):
    """Without an announced length only the content can tell, and the next run is to fetch it again."""
    content = archive.read_bytes()
    pages = {"page": b"<html>Log in to use this network</html>", "cut": content[:-9]}
    pages["other archive"] = gzip.compress(bytes(10240))
    message = r"http://.*/inception holds no Inception graph that can be read"
    with served(pages[bad], monkeypatch, length=False), pytest.raises(EvaluationError, match=message):
        load_classifier("inception", cache_dir=tmp_path, report=str)
    assert list(tmp_path.iterdir()) == []
    with served(content, monkeypatch, length=False) as requests:
        load_classifier("inception", cache_dir=tmp_path, report=str)
    assert requests == ["/inception"]


def test_the_address_is_tfgans():
    assert inception.archive_url().startswith("https://") and "tfgan/eval/inception" in inception.archive_url()
    assert inception.archive_url().endswith("?tf-hub-format=compressed")
