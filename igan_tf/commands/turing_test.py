"""The visual Turing test, `python -m igan_tf.turing_test`: makes a study and serves it, or reports on it."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow, report
from igan_tf.settings import Settings, refuse_unused, setting
from igan_tf.turing_test.settings import StudyError, StudyImageSettings, StudySettings

if TYPE_CHECKING:
    from igan_tf.turing_test.storage import Storage

_OWN_MACHINE = ("127.0.0.1", "localhost")
_EVERY_ADDRESS = ("0.0.0.0", "::")
_NOT_REPORT = ("report=False",)


@dataclasses.dataclass(frozen=True)
class PlaceSettings(Settings):
    """Where the study is, and what of."""

    Error = StudyError
    topic = "The study"

    study_dir: str = setting("", "Folder of the study; made if it is not there, then served again.", path=True)
    real: str = setting(
        "",
        "Real images: a folder of images or arrays, an .npy or .npz file, tfds:<name>:<split>, digits:<train or test>.",
        path=True,
        used_with=_NOT_REPORT,
    )
    generated: tuple[str, ...] = setting(
        (),
        "Generated images, as name=place: a run, pretrained:NAME, or what `real` takes. May be given several times.",
        path=True,
        used_with=_NOT_REPORT,
    )
    data_dir: str = setting("", "Folder of TFDS data; by default TFDS's own.", path=True, used_with=_NOT_REPORT)
    report: bool = setting(False, "Write and print the report on `study_dir` instead of serving it.")
    output: str = setting(
        "",
        "Folder of the report's files; by default report/ in `study_dir`.",
        path=True,
        used_with=("report",),
    )

    def check(self) -> None:
        super().check()
        if not self.study_dir:
            raise StudyError("`study_dir` must name the folder of the study. Received: study_dir=")


@dataclasses.dataclass(frozen=True)
class ServingSettings(Settings):
    """How it is served."""

    Error = StudyError
    topic = "Serving"

    host: str = setting(
        "127.0.0.1",
        "Address to serve on. Any but this machine's needs `public_url` or `insecure_lan`.",
        used_with=_NOT_REPORT,
    )
    port: int = setting(8765, "Port to serve on; 0: a free one.", low=0, high=65535, used_with=_NOT_REPORT)
    public_url: str = setting(
        "",
        "What annotators' browsers reach the server by, such as https://study.example.org, where that is not its own "
        "address; its proxy must pass on the Host of browsers. With https, cookies are sent over https alone.",
        used_with=_NOT_REPORT,
    )
    insecure_lan: bool = setting(
        False,
        "Serve colleagues in one's own network, with `host=0.0.0.0` or this machine's address there, unencrypted: "
        "whoever is in that network can read links and answers, and answer as somebody else.",
        used_with=_NOT_REPORT,
    )

    def check(self) -> None:
        super().check()
        own = self.host.lower() in _OWN_MACHINE
        if not (own or self.public_url or self.insecure_lan):
            raise StudyError(
                "`host` other than 127.0.0.1 needs `public_url`, the address that annotators use, or `insecure_lan`. "
                f"Received: host={self.host} public_url="
            )
        if self.insecure_lan and (self.public_url or own):
            raise StudyError(
                "`insecure_lan` goes with `host=0.0.0.0`, or this machine's address in the network, and without "
                f"`public_url`. Received: host={self.host} public_url={self.public_url}"
            )
        if not self.public_url:
            return
        received = f"Received: public_url={self.public_url}"
        try:
            parts = urlsplit(_as_browsers_name_it(self.public_url))
        except ValueError as error:
            raise StudyError(f"`public_url` is no address: {error}. {received}") from error
        more = parts.path.strip("/") or parts.query or parts.fragment or parts.username or not parts.netloc.isascii()
        if parts.scheme not in ("http", "https") or not parts.netloc or more:
            raise StudyError(f"`public_url` must be https://name or https://name:port, in punycode. {received}")


@dataclasses.dataclass(frozen=True)
class CommandSettings(PlaceSettings, ServingSettings):
    """The command's own flags, beside the study's settings."""


def command_line() -> CommandLine:
    """The command's flags: where the study is, how it is served, then each of its settings."""
    line = CommandLine(
        "python -m igan_tf.turing_test",
        "People tell real images from generated ones, in a browser: makes a study and serves it, serves it again, or "
        "reports on it.",
    )
    line.add_settings(CommandSettings)
    line.add_settings(StudySettings)
    return line


def run(arguments: Sequence[str]) -> None:
    """Does what the flags ask; errors of the user's end it with one message."""
    line = command_line()
    with ending_in_one_sentence(line):
        line.parse(arguments)
        _check_extra()
        settings, study = line.read(CommandSettings), line.read(StudySettings)
        _refuse_unused(line, settings, study)
        if settings.report:
            _report(settings)
        else:
            _serve(line, settings, study)


def _refuse_unused(line: CommandLine, settings: CommandSettings, study: StudySettings) -> None:
    """Raises a StudyError for a flag that was typed and has no effect."""
    refuse_unused(settings, line.typed)
    if settings.report:
        for field in dataclasses.fields(study):
            if field.name in line.typed:
                raise StudyError(
                    f"`{field.name}` is for a study that is made, not for `report`. "
                    f"Received: {field.name}={getattr(study, field.name)}"
                )
        return
    refuse_unused(study, line.typed)
    places = [settings.real, *(text.partition("=")[2] for text in settings.generated)]
    if "data_dir" in line.typed and not any(place.startswith("tfds:") for place in places):
        raise StudyError(
            f"`data_dir` is for images of TFDS, tfds:<name>:<split>. Received: data_dir={settings.data_dir} "
            f"real={settings.real}"
        )


def _check_extra() -> None:
    missing = [name for name in ("starlette", "uvicorn", "jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        raise StudyError(f"{', '.join(missing)} not installed: pip install 'igan_tf[turing]'")


def _open_or_create(line: CommandLine, place: CommandSettings, settings: StudySettings) -> Storage:
    """The `Storage` of `study_dir`, made from the flags if it is not there."""
    from igan_tf.turing_test import creation, storage
    from igan_tf.turing_test.report import plan_in_words
    from igan_tf.turing_test.sources import has_image_files, needs_tensorflow, parse_sources, read_sources

    if not (Path(place.study_dir) / storage.FILE).exists():
        if not (place.real or place.generated):
            raise StudyError(
                f"`study_dir={place.study_dir}` holds no study to go on with, and for a new one `real` and `generated` "
                f"must name images. Received: study_dir={place.study_dir} real= generated="
            )
        sources = parse_sources(place.real, place.generated)
        of_files = [field.name for field in dataclasses.fields(StudyImageSettings) if field.name in line.typed]
        # Folders are searched only where it matters.
        if of_files and not any(has_image_files(source.place) for source in sources):
            raise StudyError(
                f"`{of_files[0]}` is for image files, and no source is a folder of them. "
                f"Received: {of_files[0]}={getattr(settings, of_files[0])}"
            )
        creation.check_new_folder(place.study_dir)
        print(f"{plan_in_words(settings)}\npreparing the images, half a minute or more", flush=True)
        if any(needs_tensorflow(source.place) for source in sources):
            # Here, for its notices' sake.
            import_tensorflow()
        seed = creation.new_seed()
        read = read_sources(sources, settings.images_per_source, seed, place.data_dir, settings)
        creation.create_study(place.study_dir, settings, read, seed)
        return storage.Storage(place.study_dir, serve=True)
    study = storage.Storage(place.study_dir, serve=True)
    try:
        _refuse_differences(line.given, place, settings, study)
    except StudyError:
        study.close()
        raise
    _say_what_is_unchecked(study)
    print(plan_in_words(study.settings), flush=True)
    return study


def _refuse_differences(given: set[str], place: CommandSettings, settings: StudySettings, study: Storage) -> None:
    """Raises a StudyError if a flag was given that says something else than the study that is there."""
    pairs = [(name, getattr(study.settings, name), getattr(settings, name)) for name in dataclasses.asdict(settings)]
    changed = [
        f"`{name}`: the study has {old!r}, now {new!r}" for name, old, new in pairs if name in given and new != old
    ]
    (_, _, real, _), *generated = study.sources
    if "real" in given and place.real != real:
        changed.append(f"`real`: the study has {real!r}, now {place.real!r}")
    named = [f"{name}={place}" for name, _, place, _ in generated]
    if "generated" in given and list(place.generated) != named:
        changed.append(f"`generated`: the study has {named}, now {list(place.generated)}")
    if changed:
        raise StudyError(
            f"`study_dir={place.study_dir}` holds a study with other settings; name another folder, or leave "
            "these out:\n  " + "\n  ".join(changed)
        )


def _serve(line: CommandLine, settings: CommandSettings, study_settings: StudySettings) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    from igan_tf.turing_test import serving

    # Before anything is read that takes long.
    with serving.listen(settings.host, settings.port) as listener:
        study = _open_or_create(line, settings, study_settings)
        try:
            port = listener.getsockname()[1]
            origins = _origins(settings.public_url, settings.host, port)
            if settings.insecure_lan:
                print(
                    f"warning: unencrypted at {origins[0]}: whoever is in this network can read links and answers, and "
                    "answer as somebody else",
                    file=sys.stderr,
                    flush=True,
                )
            serving.serve(study, listener, origins, proxied=bool(settings.public_url), started=_announce)
        finally:
            study.close()


def _origins(public_url: str, host: str, port: int) -> list[str]:
    """The origins under which browsers reach the server, the one for links first, as browsers name them."""
    from igan_tf.turing_test.serving import address_in_network

    origins = [public_url.rstrip("/")] if public_url else []
    host = host.lower()
    lan = not public_url and host not in _OWN_MACHINE
    if lan:
        address = address_in_network() if host in _EVERY_ADDRESS else host
        origins = [f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"]
    if host in _OWN_MACHINE or (lan and host in _EVERY_ADDRESS):
        origins += [f"http://{name}:{port}" for name in _OWN_MACHINE]
    return [_as_browsers_name_it(origin) for origin in origins]


def _as_browsers_name_it(origin: str) -> str:
    """An origin in lower case, its IPv6 address compressed, and without the scheme's own port."""
    origin = re.sub(r"(?<=\[)[^]]*(?=])", lambda address: str(ip_address(address[0])), origin.lower())
    return re.sub(r"^(http://[^/]*):80$|^(https://[^/]*):443$", r"\1\2", origin)


def _announce(study: Storage, origin: str) -> None:
    print(f"for annotators:  {origin}/study/{study.study_token}")
    print(f"for researchers: {origin}/results/{study.results_token}")
    print("Ctrl-C stops the server; the same command continues the study.", flush=True)


def _say_what_is_unchecked(study: Storage) -> None:
    from igan_tf.turing_test import contents

    if study.version == contents.WITHOUT_CHECKSUMS:
        print("This study is older than checksums of rows: flipped bits in an image or an answer may go unnoticed.")


def _report(settings: CommandSettings) -> None:
    """Writes the report's files and prints the numbers."""
    from igan_tf.turing_test.export import report_folder, write_report
    from igan_tf.turing_test.report import in_words
    from igan_tf.turing_test.storage import Storage

    study = Storage(settings.study_dir)
    _say_what_is_unchecked(study)
    try:
        folder = report_folder(settings.study_dir, settings.output)
        result = write_report(study, folder)
    finally:
        study.close()
    for line in [*in_words(result), f"written to {folder}"]:
        report(line)
