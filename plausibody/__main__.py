"""`python -m plausibody` is the command `plausibody`."""

from plausibody.cli import main

main()
