"""The published file's form: read as it is or from its archive, and its figures those of the published script."""

import gzip
import hashlib
import io
import shutil
import tarfile

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers import inception
from tests.evaluation.damage import altered
from tests.evaluation.inception_graphs import FEATURES, Builder, expected, graph, pack, write


def images(count=3, height=32, width=40):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype="uint8")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("graph"))


@pytest.mark.parametrize("protocol", ["default", "original"])
@pytest.mark.parametrize("packed", [False, True], ids=["pb", "tgz"])
def test_both_protocols_from_both_forms(tmp_path, path, monkeypatch, packed, protocol):
    if packed:
        path = pack(shutil.copy(path, tmp_path / "classify_image_graph_def.pb"), "./classify_image_graph_def.pb")
        # The archive is read in memory.
        monkeypatch.setattr(inception.tarfile.TarFile, "extractall", None)
    classifier = load_classifier("inception", path=path, protocol=protocol)
    logits, features = expected(images(), bias=protocol == "default")
    outputs = classifier(images())
    assert outputs.values.shape == (3, 1008) and outputs.features.shape == (3, FEATURES)
    np.testing.assert_allclose(outputs.values, logits, rtol=0, atol=2e-5)
    np.testing.assert_allclose(outputs.features, features, rtol=0, atol=1e-5)
    assert classifier.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert classifier.from_logits and classifier.value_range == (0, 255)
    assert classifier.protocol == "resize: to 299x299, by the network itself; 3 channels in [0, 255]; logits"


def test_it_gives_what_the_published_procedure_gives(path):
    """One JPEG into the file's graph as it is: softmax and, by the published script, a softmax without the bias."""
    pixels = np.asarray(images(1))
    jpeg = tf.io.encode_jpeg(pixels[0], quality=100).numpy()
    with tf.Graph().as_default() as whole:
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
        weights = whole.get_operation_by_name("softmax/logits/MatMul").inputs[1]
        with tf.compat.v1.Session() as session:
            names = ["DecodeJpeg:0", "softmax:0", "pool_3:0", weights]
            pixels, probabilities, features, weights = session.run(names, {"DecodeJpeg/contents:0": jpeg})
    outputs = load_classifier("inception", path=path)(pixels[None])
    np.testing.assert_array_equal(outputs.features, features.reshape(1, -1))
    np.testing.assert_array_equal(tf.nn.softmax(outputs.values), probabilities)
    original = load_classifier("inception", path=path, protocol="original")(pixels[None])
    np.testing.assert_allclose(original.values, features.reshape(1, -1) @ weights, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 299, 320])
def test_images_of_any_size_floats_and_grey(path, size):
    classifier = load_classifier("inception", path=path)
    pixels = images(2, size, size)
    outputs = classifier(pixels)
    # Where nothing cancels, float32 has the places between pixels to 1e-5 of one.
    np.testing.assert_allclose(outputs.values, expected(pixels)[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(classifier(pixels / np.float32(255)).values, outputs.values, rtol=0, atol=2e-5)
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(classifier(pixels[..., :1]).values, classifier(grey).values)


def test_a_graph_without_a_bias(tmp_path):
    path = write(tmp_path, graph(bias=False))
    for protocol in ("default", "original"):
        outputs = load_classifier("inception", path=path, protocol=protocol)(images())
        np.testing.assert_allclose(outputs.values, expected(images(), bias=False)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("cut", "value_range"), [("ResizeBilinear", (0, 255)), ("Mul", (-1, 127 / 128))])
def test_a_graph_that_takes_resized_images(tmp_path, cut, value_range):
    classifier = load_classifier("inception", path=write(tmp_path, graph(cut=cut)))
    assert classifier.value_range == value_range and "by the network itself" not in classifier.protocol
    pixels = images(2, 299, 299)
    np.testing.assert_allclose(classifier(pixels).values, expected(pixels)[0], rtol=0, atol=1e-4)
    # Smaller ones are resized as for every other network.
    small = images(2)
    large = tf.image.resize(small.astype("float32"), (299, 299)).numpy()
    np.testing.assert_allclose(classifier(small).values, expected(large)[0], rtol=0, atol=1e-4)


def without(name):
    changed = graph()
    for node in changed.node:
        if node.name == name:
            node.name = "other"
        node.input[:] = ["other" if given == name else given for given in node.input]
    return changed


def of_another_number():
    changed = graph()
    for node in changed.node:
        if node.name in ("softmax/weights", "softmax/biases"):
            value = tf.make_ndarray(node.attr["value"].tensor)[..., :1000]
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return changed


def of_one_image():
    """A reshape for one image that is not the one after the features."""
    builder = Builder()
    builder.graph_def.CopyFrom(graph())
    builder.add_constants({"one": np.array([1, 11, 11, FEATURES], "int32")})
    builder.add("reshaped", "Reshape", "mixed/join", "one", T=tf.float32)
    (pool,) = (node for node in builder.graph_def.node if node.name == "pool_3")
    pool.input[:] = ["reshaped"]
    return builder.graph_def


def with_a_float_for_an_axis():
    """TensorFlow itself would end the process."""
    changed = graph()
    (axis,) = (node for node in changed.node if node.name == "mixed/join/concat_dim")
    axis.attr["dtype"].type = axis.attr["value"].tensor.dtype = tf.float64.as_datatype_enum
    return changed


@pytest.mark.parametrize(
    ("graph_def", "message"),
    [
        (without("pool_3"), "must have the node pool_3. Received: a graph of"),
        (without("softmax/logits"), "must have the node softmax/logits. Received: a graph of"),
        (without("ResizeBilinear"), "must have the node ResizeBilinear, or a placeholder ResizeBilinear or Mul. Rec"),
        (of_another_number(), r"must give logits of the shape \(None, 1008\).* Received: .*\(None, 1000\)"),
        (
            of_one_image(),
            r"must give logits of .* features for each image. Received: outputs of the shapes .* and \(1, 1, 1, 16\)",
        ),
        (with_a_float_for_an_axis(), "holds no Inception graph .* the constant mixed/join/concat_dim has another type"),
        (tf.compat.v1.GraphDef(), "must have the node softmax/logits. Received: a graph of 0 nodes"),
    ],
    ids=["features", "logits", "resize", "1000 outputs", "one image", "type", "empty"],
)
def test_a_graph_of_another_form_is_refused(tmp_path, graph_def, message):
    path = write(tmp_path, graph_def)
    with pytest.raises(EvaluationError, match=f"^`path={path}` {message}"):
        load_classifier("inception", path=path)


def test_the_original_protocol_needs_a_product(tmp_path):
    changed = graph()
    for node in changed.node:
        node.name = {"softmax": "softmax/logits", "softmax/logits": "with_bias"}.get(node.name, node.name)
        node.input[:] = ["with_bias" if given == "softmax/logits" else given for given in node.input]
    with pytest.raises(EvaluationError, match=r"`protocol=original` needs a matrix product .* ends in Softmax of"):
        load_classifier("inception", path=write(tmp_path, changed), protocol="original")


def sparse(archive):
    """Little in the archive, much once it is read."""
    info = tarfile.TarInfo("classify_image_graph_def.pb")
    size = str(1 << 33)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": size}
    info.size = 512
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))


def bomb(archive):
    with gzip.open(archive, "wb", compresslevel=1) as file:
        for _ in range(20):
            file.write(bytes(1 << 20))


@pytest.mark.parametrize("fill", [bomb, sparse])
def test_much_in_a_small_file_is_refused_before_it_is_read(tmp_path, monkeypatch, fill):
    monkeypatch.setattr(inception, "_MOST_BYTES", 16 << 20)
    fill(tmp_path / "inception.tgz")
    assert (tmp_path / "inception.tgz").stat().st_size < 1 << 20
    with pytest.raises(EvaluationError, match=r"`path=.*inception.tgz` must hold at most 16 MiB, unpacked. Received: "):
        load_classifier("inception", path=tmp_path / "inception.tgz")


def test_an_altered_archive_is_refused_and_an_altered_file_never_a_traceback(tmp_path):
    """The archive has a checksum; a .pb has none, and its weights may change unnoticed: hence the digest."""
    path = write(tmp_path)
    size = path.stat().st_size
    refused = 0
    for _ in altered(path, [*range(0, 4000, 130), *range(size - 3000, size, 130)], (1, 255)):
        try:
            load_classifier("inception", path=path)
        except EvaluationError as error:
            refused += 1
            assert f"`path={path}`" in str(error)
    assert refused > 20
    archive = pack(path)
    size = archive.stat().st_size
    for _ in altered(archive, [*range(100, size, size // 4), size - 5], (64,)):
        with pytest.raises(EvaluationError, match=f"^`path={archive}` holds no Inception graph that can be read: "):
            load_classifier("inception", path=archive)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaluationError, match=f"^`path={path}` holds no Inception graph that can be read: .*pars"):
        load_classifier("inception", path=path)
