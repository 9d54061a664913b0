"""Inputs bred by which code they reach (atheris, on libFuzzer), for the parsers of what people bring.

    python -m tests.fuzz.guided dicom --seconds 60

Begins with whole inputs. Each must end in a result or in a UserError, within 5 s and 1 GiB more than at the
start; the first that does not ends the run with a code other than 0, and is left in the folder of --keep.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lungvae_core.data", "pydicom", "nibabel", "numpy.lib"]):
    from lungvae_core.errors import UserError
    from tests.fuzz.readers import READERS

SECONDS, MEBIBYTES = 5, 1024
LONGEST = 2**17  # bytes of an input


def main() -> None:
    """Fuzz one reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="inputs; -1: as many as fit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path())
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    target = READERS[chosen.reader]()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        for number, whole in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(whole)

        def one(content: bytes) -> None:
            try:
                target.run(content, Path(scratch))
            except UserError as error:
                if not str(error).strip() or "Traceback" in str(error):
                    raise AssertionError(f"no sentence: {error}") from error

        one(target.seeds[0])  # what is imported late is not the input's memory
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        options = [
            f"-max_total_time={chosen.seconds}",
            f"-runs={chosen.runs}",
            f"-timeout={SECONDS}",
            f"-rss_limit_mb={used + MEBIBYTES}",
            f"-malloc_limit_mb={MEBIBYTES}",
            f"-max_len={LONGEST}",
            f"-seed={chosen.seed}",
            f"-artifact_prefix={chosen.keep}/",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
