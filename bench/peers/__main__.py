"""`python -m bench.peers`: seconds of a round and of a sweep, beside other simulators.

`--json FILE` writes what it measured; `--chart FILE` measures nothing, and makes of such a file the chart and the parts
of README.md and docs/performance.md that show it. It needs data/raw (`python -m fedgrid fetch mnist shakespeare`), and
the first time a network.
"""

import argparse
import json
from pathlib import Path

from bench.peers import measure, shown
from fedgrid import files


def main() -> None:
    """Measures and prints the table; or shows what was measured."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured as data, too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="show what was measured before; measures nothing")
    asked = parser.parse_args()
    if asked.chart:
        made = shown.shown(json.loads(asked.chart.read_text()), measure.ROOT)
        files.write_all({measure.ROOT / path: content for path, content in made.items()})
        return
    measured = measure.measure()
    if asked.json:
        files.write(asked.json, json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    print(shown.table(measured))


if __name__ == "__main__":
    main()
