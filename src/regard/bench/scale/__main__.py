import argparse
import sys

from regard import arguments
from regard.bench.scale.document import page, save
from regard.bench.scale.report import made
from regard.errors import RegardError
from regard.progress import Progress


def main() -> int:
    """`python -m regard.bench.scale` as it is typed; returns the exit code."""
    parser = argparse.ArgumentParser("python -m regard.bench.scale", description="attention over 8 to 4,096 machines")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    parser.add_argument("--save", metavar="DIR", help="write scale.md, scale.json, scale.svg")
    asked = parser.parse_args()
    try:
        folder = None if asked.save is None else arguments.folder(asked.save)
        with Progress() as progress:
            report = made(asked.quick, progress)
        for line in page(report):
            print(line)
        if folder is not None:
            save(report, folder)
    except RegardError as error:
        print(f"regard: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
