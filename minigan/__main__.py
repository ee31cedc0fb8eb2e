"""`python -m minigan`, for where the command `minigan` is not on the path."""

from minigan.cli import main

raise SystemExit(main())
