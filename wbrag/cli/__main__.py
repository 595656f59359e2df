"""`python -m wbrag.cli` is the command `wbrag`."""

import sys

from wbrag.cli.main import main

sys.exit(main())
