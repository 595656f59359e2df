"""Ray job: `wbrag train retriever` on a cluster that has wbrag (docs/cluster.md).

The workspace in FILE must be a location that every node sees: s3://, gs:// or a shared folder.

    ray job submit --runtime-env runtime_env.yaml -- python jobs/train.py --config FILE
"""

import sys

from wbrag.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "retriever", *sys.argv[1:]]))
