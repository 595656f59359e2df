"""Ray job: `wbrag train retriever`, or `wbrag train reader`, on a cluster that has wbrag (docs/cluster.md).

The workspace in FILE must be a location that every node sees: s3://, gs:// or a shared folder.

    ray job submit --runtime-env runtime_env.yaml -- python jobs/train.py --config FILE
    ray job submit --runtime-env runtime_env.yaml -- python jobs/train.py reader --config FILE --examples nq/train
"""

import sys

from wbrag.cli.main import main

if __name__ == "__main__":
    asked = sys.argv[1:]
    what = [] if asked and not asked[0].startswith("-") else ["retriever"]
    sys.exit(main(["train", *what, *asked]))
