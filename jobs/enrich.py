"""`wbrag enrich` as a Ray job: `ray job submit --working-dir . -- python jobs/enrich.py --config FILE`.

The workspace in FILE must be a path that every node of the cluster sees.
"""

import sys

from wbrag.cli import main

if __name__ == "__main__":
    sys.exit(main(["enrich", *sys.argv[1:]]))
