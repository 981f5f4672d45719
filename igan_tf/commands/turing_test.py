"""The command line: make a study and serve it, serve it again, or report on it."""

import dataclasses
import importlib.util
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

# TensorFlow's start-up notices, where a source needs it, would bury this program's own lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

from igan_tf.commands.flags import in_flags
from igan_tf.errors import InputError
from igan_tf.turing_test.settings import StudyError, StudySettings

FLAGS = flags.FLAGS

_OWN_MACHINE = ("127.0.0.1", "localhost")


def define_flags(flag_values=FLAGS):
    """One flag for each setting of a study, and those that say where it is and how it is served."""

    def define(function, *arguments, **keywords):
        function(*arguments, flag_values=flag_values, **keywords)

    define(flags.DEFINE_string, "study_dir", "", "Folder of the study; made if it is not there, then served again.")
    define(
        flags.DEFINE_string,
        "real",
        "",
        "Real images: a folder, an .npz file, tfds:<name>:<split>, or digits:<train or test>.",
    )
    define(
        flags.DEFINE_multi_string,
        "generated",
        [],
        "Generated images, as name=place: a run directory, or what --real takes. May be given several times.",
    )
    define(flags.DEFINE_string, "data_dir", "", "Folder of TFDS data; by default TFDS's own.")
    define(flags.DEFINE_bool, "report", False, "Write and print the report on --study_dir instead of serving it.")
    define(flags.DEFINE_string, "output", "", "Folder of the report's files; by default report/ in --study_dir.")
    define(flags.DEFINE_string, "host", "127.0.0.1", "Address to serve on. Any but this machine's needs --public_url.")
    define(flags.DEFINE_integer, "port", 8765, "Port to serve on; 0: a free one.", lower_bound=0, upper_bound=65535)
    define(
        flags.DEFINE_string,
        "public_url",
        "",
        "What annotators' browsers reach the server by, such as https://study.example.org, where that is not its own "
        "address. With https, cookies are sent over https alone.",
    )
    kinds = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float}
    for field in dataclasses.fields(StudySettings):
        define(kinds[type(field.default)], field.name, field.default, field.metadata["help"])


def run():
    """The program."""
    define_flags()
    app.run(main)


def main(argv):
    """Does what the flags ask; errors of the user's end it with one message."""
    try:
        if len(argv) > 1:
            raise StudyError(f"unknown argument: {argv[1]}")
        _check_extra()
        _check_flags(FLAGS)
        if FLAGS.report:
            _report(FLAGS)
        else:
            _serve(FLAGS)
    except InputError as error:
        sys.exit(f"igan_tf: {in_flags(error, FLAGS)}")


def _check_extra():
    missing = [name for name in ("starlette", "uvicorn", "jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        raise StudyError(f"{', '.join(missing)} not installed: pip install 'igan_tf[turing]'")


def _check_flags(flag_values):
    """What can be refused before anything is read."""
    if not flag_values.study_dir:
        raise StudyError("--study_dir must name the folder of the study. Received: --study_dir=")
    host, url = flag_values.host, flag_values.public_url
    if host not in _OWN_MACHINE and not url:
        raise StudyError(
            "--host other than 127.0.0.1 needs --public_url, the address that annotators use. "
            f"Received: --host={host} --public_url="
        )
    if url:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.netloc
            or parts.path.strip("/")
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise StudyError(f"--public_url must be of the form https://name or https://name:port. Received: {url}")


def settings_from_flags(flag_values):
    """The `StudySettings` that the flags describe."""
    return StudySettings(**{field.name: flag_values[field.name].value for field in dataclasses.fields(StudySettings)})


def _open_or_create(flag_values):
    """The `Storage` of --study_dir, made from the flags if it is not there."""
    from igan_tf.turing_test import creation, storage
    from igan_tf.turing_test.report import plan_in_words
    from igan_tf.turing_test.sources import parse_sources, read_sources

    settings = settings_from_flags(flag_values)
    if not (Path(flag_values.study_dir) / storage.FILE).exists():
        sources = parse_sources(flag_values.real, flag_values.generated)
        creation.check_new_folder(flag_values.study_dir)
        print(plan_in_words(settings), flush=True)
        seed = creation.new_seed()
        read = read_sources(sources, settings.images_per_source, seed, flag_values.data_dir)
        creation.create_study(flag_values.study_dir, settings, read, seed)
        return storage.Storage(flag_values.study_dir, serve=True)
    study = storage.Storage(flag_values.study_dir, serve=True)
    try:
        _refuse_differences(flag_values, settings, study)
    except StudyError:
        study.close()
        raise
    print(plan_in_words(study.settings), flush=True)
    return study


def _refuse_differences(flag_values, settings, study):
    """Raises a StudyError if a flag was given that says something else than the study that is there."""
    changed = [
        f"--{field.name}: the study has {getattr(study.settings, field.name)!r}, now {getattr(settings, field.name)!r}"
        for field in dataclasses.fields(StudySettings)
        if flag_values[field.name].present and getattr(settings, field.name) != getattr(study.settings, field.name)
    ]
    (_, _, real, _), *generated = study.sources
    if flag_values["real"].present and flag_values.real != real:
        changed.append(f"--real: the study has {real!r}, now {flag_values.real!r}")
    named = [f"{name}={place}" for name, _, place, _ in generated]
    if flag_values["generated"].present and flag_values.generated != named:
        changed.append(f"--generated: the study has {named}, now {flag_values.generated}")
    if changed:
        raise StudyError(
            f"--study_dir={flag_values.study_dir} holds a study with other settings; name another folder, or leave "
            "these out:\n  " + "\n  ".join(changed)
        )


def _serve(flag_values):
    """Serves until Ctrl-C or SIGTERM."""
    from igan_tf.turing_test import serving

    # Before anything is read that takes long.
    with serving.listen(flag_values.host, flag_values.port) as listener:
        study = _open_or_create(flag_values)
        try:
            port = listener.getsockname()[1]
            origins = _origins(flag_values.public_url, flag_values.host, port)
            serving.serve(study, listener, origins, proxied=bool(flag_values.public_url), started=_announce)
        finally:
            study.close()


def _origins(public_url, host, port):
    """The origins under which browsers reach the server, the one for links first, as browsers name them."""
    origins = [public_url.rstrip("/").lower()] if public_url else []
    if host in _OWN_MACHINE:
        origins += [f"http://{name}:{port}" for name in _OWN_MACHINE]
    # They leave out the scheme's own port.
    return [re.sub(r"^(http://[^/]*):80$|^(https://[^/]*):443$", r"\1\2", origin) for origin in origins]


def _announce(study, origin):
    print(f"for annotators:  {origin}/study/{study.study_token}")
    print(f"for researchers: {origin}/results/{study.results_token}")
    print("Ctrl-C stops the server; the same command continues the study.", flush=True)


def _report(flag_values):
    """Writes the report's files and prints the numbers."""
    from igan_tf.turing_test.export import write_report
    from igan_tf.turing_test.report import in_words
    from igan_tf.turing_test.storage import Storage

    study = Storage(flag_values.study_dir)
    try:
        folder = Path(flag_values.output or Path(flag_values.study_dir) / "report")
        report = write_report(study, folder)
    finally:
        study.close()
    for line in in_words(report):
        print(line)
    print(f"written to {folder}", flush=True)
