"""`python -m cdesk` is `cdesk`."""

from cdesk.cli import main

main()
