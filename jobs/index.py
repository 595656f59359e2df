"""`wbrag index` as a Ray job, on a cluster that has wbrag (docs/cluster.md).

    ray job submit --runtime-env runtime_env.yaml -- python jobs/index.py --config FILE

The workspace in FILE must be a location that every node sees: s3://, gs:// or a shared folder.
"""

import sys

from wbrag.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["index", *sys.argv[1:]]))
