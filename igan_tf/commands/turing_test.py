"""The visual Turing test, `python -m igan_tf.turing_test`: makes a study and serves it, or reports on it."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow
from igan_tf.turing_test.settings import StudyError, StudySettings

if TYPE_CHECKING:
    from igan_tf.turing_test.storage import Storage

_OWN_MACHINE = ("127.0.0.1", "localhost")
_GREATEST_PORT = 65535


def command_line() -> CommandLine:
    """The command's flags: where the study is, how it is served, then each of its settings."""
    line = CommandLine(
        "python -m igan_tf.turing_test",
        "People tell real images from generated ones, in a browser: makes a study and serves it, serves it again, or "
        "reports on it.",
    )
    study, serving = "The study", "Serving"
    line.add(study, "study_dir", "", "Folder of the study; made if it is not there, then served again.")
    line.add(
        study, "real", "", "Real images: a folder, an .npy or .npz, tfds:<name>:<split>, or digits:<train or test>."
    )
    line.add(
        study,
        "generated",
        [],
        "Generated images, as name=place: a run directory, or what --real takes. May be given several times.",
        multiple=True,
    )
    line.add(study, "data_dir", "", "Folder of TFDS data; by default TFDS's own.")
    line.add(study, "report", False, "Write and print the report on --study_dir instead of serving it.")
    line.add(study, "output", "", "Folder of the report's files; by default report/ in --study_dir.")
    line.add(serving, "host", "127.0.0.1", "Address to serve on. Any but this machine's needs --public_url.")
    line.add(serving, "port", 8765, "Port to serve on; 0: a free one.", f"At least 0, at most {_GREATEST_PORT}.")
    line.add(
        serving,
        "public_url",
        "",
        "What annotators' browsers reach the server by, such as https://study.example.org, where that is not its own "
        "address. With https, cookies are sent over https alone.",
    )
    line.add_settings(StudySettings)
    return line


def run(arguments: Sequence[str]) -> None:
    """Does what the flags ask; errors of the user's end it with one message."""
    line = command_line()
    with ending_in_one_sentence(line):
        line.parse(arguments)
        _check_extra()
        _check_flags(line)
        settings = line.read(StudySettings)
        if line.report:
            _report(line)
        else:
            _serve(line, settings)


def _check_extra() -> None:
    missing = [name for name in ("starlette", "uvicorn", "jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        raise StudyError(f"{', '.join(missing)} not installed: pip install 'igan_tf[turing]'")


def _check_flags(line: CommandLine) -> None:
    """What can be refused before anything is read."""
    if not line.study_dir:
        raise StudyError("`study_dir` must name the folder of the study. Received: study_dir=")
    host, url = line.host, line.public_url
    if host not in _OWN_MACHINE and not url:
        raise StudyError(
            "`host` other than 127.0.0.1 needs `public_url`, the address that annotators use. "
            f"Received: host={host} public_url="
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
            raise StudyError(
                f"`public_url` must be of the form https://name or https://name:port. Received: public_url={url}"
            )
    if not 0 <= line.port <= _GREATEST_PORT:
        raise StudyError(f"`port` must be from 0 to {_GREATEST_PORT}. Received: port={line.port}")


def _open_or_create(line: CommandLine, settings: StudySettings) -> Storage:
    """The `Storage` of --study_dir, made from the flags if it is not there."""
    from igan_tf.turing_test import creation, storage
    from igan_tf.turing_test.report import plan_in_words
    from igan_tf.turing_test.sources import needs_tensorflow, parse_sources, read_sources

    if not (Path(line.study_dir) / storage.FILE).exists():
        sources = parse_sources(line.real, line.generated)
        creation.check_new_folder(line.study_dir)
        print(plan_in_words(settings), flush=True)
        if any(needs_tensorflow(source.place) for source in sources):
            # Here, for its notices' sake.
            import_tensorflow()
        seed = creation.new_seed()
        read = read_sources(sources, settings.images_per_source, seed, line.data_dir, settings)
        creation.create_study(line.study_dir, settings, read, seed)
        return storage.Storage(line.study_dir, serve=True)
    study = storage.Storage(line.study_dir, serve=True)
    try:
        _refuse_differences(line, settings, study)
    except StudyError:
        study.close()
        raise
    print(plan_in_words(study.settings), flush=True)
    return study


def _refuse_differences(line: CommandLine, settings: StudySettings, study: Storage) -> None:
    """Raises a StudyError if a flag was given that says something else than the study that is there."""
    changed = [
        f"`{field.name}`: the study has {getattr(study.settings, field.name)!r}, now {getattr(settings, field.name)!r}"
        for field in dataclasses.fields(StudySettings)
        if field.name in line.given and getattr(settings, field.name) != getattr(study.settings, field.name)
    ]
    (_, _, real, _), *generated = study.sources
    if "real" in line.given and line.real != real:
        changed.append(f"`real`: the study has {real!r}, now {line.real!r}")
    named = [f"{name}={place}" for name, _, place, _ in generated]
    if "generated" in line.given and line.generated != named:
        changed.append(f"`generated`: the study has {named}, now {line.generated}")
    if changed:
        raise StudyError(
            f"`study_dir={line.study_dir}` holds a study with other settings; name another folder, or leave "
            "these out:\n  " + "\n  ".join(changed)
        )


def _serve(line: CommandLine, settings: StudySettings) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    from igan_tf.turing_test import serving

    # Before anything is read that takes long.
    with serving.listen(line.host, line.port) as listener:
        study = _open_or_create(line, settings)
        try:
            port = listener.getsockname()[1]
            origins = _origins(line.public_url, line.host, port)
            serving.serve(study, listener, origins, proxied=bool(line.public_url), started=_announce)
        finally:
            study.close()


def _origins(public_url: str, host: str, port: int) -> list[str]:
    """The origins under which browsers reach the server, the one for links first, as browsers name them."""
    origins = [public_url.rstrip("/").lower()] if public_url else []
    if host in _OWN_MACHINE:
        origins += [f"http://{name}:{port}" for name in _OWN_MACHINE]
    # They leave out the scheme's own port.
    return [re.sub(r"^(http://[^/]*):80$|^(https://[^/]*):443$", r"\1\2", origin) for origin in origins]


def _announce(study: Storage, origin: str) -> None:
    print(f"for annotators:  {origin}/study/{study.study_token}")
    print(f"for researchers: {origin}/results/{study.results_token}")
    print("Ctrl-C stops the server; the same command continues the study.", flush=True)


def _report(line: CommandLine) -> None:
    """Writes the report's files and prints the numbers."""
    from igan_tf.turing_test.export import write_report
    from igan_tf.turing_test.report import in_words
    from igan_tf.turing_test.storage import Storage

    study = Storage(line.study_dir)
    try:
        folder = Path(line.output or Path(line.study_dir) / "report")
        report = write_report(study, folder)
    finally:
        study.close()
    print("\n".join(in_words(report)))
    print(f"written to {folder}", flush=True)
