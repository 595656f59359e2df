"""Entry point: `python -m wbrag.cli` is the command `wbrag`.

It exits with the code that `main` returns.
"""

import sys

from wbrag.cli.main import main

sys.exit(main())
