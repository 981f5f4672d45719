"""`python -m tests.soak --output_dir=FOLDER [--only=NAME,...]`: every case of every module here that has a `SOAK`.

An interrupted one continues: `FOLDER/<name>.jsonl` has a line for each case that has ended. The exit status is 1 if any
has failed. To try one again: `--only=NAME --case=NUMBER`.
"""

import argparse
import collections
import importlib
import json
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import tests.soak
from tests.soak import Soak


def soaks() -> dict[str, Soak]:
    """All kinds of cases, by their module's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(tests.soak.__path__) if module.name != "__main__")
    modules = {name: importlib.import_module(f"tests.soak.{name}") for name in names}
    return {name: module.SOAK for name, module in modules.items() if hasattr(module, "SOAK")}


def outcomes(soak: Soak, numbers: Iterable[int]) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, traceback) of each case; a case that raises has "FAILED" as its outcome."""
    waiting = list(numbers)
    while waiting:
        folder = Path(tempfile.mkdtemp(prefix="igan_tf-soak-"))
        try:
            for number, outcome in soak.run(list(waiting), folder):
                assert number == waiting.pop(0), f"case {number} came out of its order"
                yield number, outcome, ""
            assert not waiting, f"no outcome of case {waiting[0]}"
        except Exception:
            yield waiting.pop(0), "FAILED", traceback.format_exc()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    kinds = soaks()
    chosen = options.only.split(",") if options.only else list(kinds)
    if unknown := set(chosen) - set(kinds):
        sys.exit(f"--only: no {sorted(unknown)} among {list(kinds)}")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in chosen:
        soak, path = kinds[name], options.output_dir / f"{name}.jsonl"
        done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        missing = sorted(set(range(soak.num_cases)) - {line["case"] for line in done})
        if options.case is not None:
            done, missing = [], [options.case]
        started = time.monotonic()
        with open(path, "a") as file:
            for number, outcome, trace in outcomes(soak, missing):
                done.append({"case": number, "outcome": outcome, "trace": trace})
                if options.case is None:
                    print(json.dumps(done[-1]), file=file, flush=True)
                if trace:
                    print(f"{name} {number}: FAILED\n{trace}", flush=True)
        counts = collections.Counter(line["outcome"] for line in done)
        failed |= "FAILED" in counts
        shown = ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common())
        print(f"{name}: {len(done)} cases, {time.monotonic() - started:.0f} s: {shown}\n  {soak.about}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
