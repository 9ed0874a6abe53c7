"""The earlier name of scripts/label_by_rules.py."""

import radtune  # isort: skip  # noqa: F401  (first: Ctrl-C is one line from here on)

from label_by_rules import LabelConfig, main

from radtune.command import run_command

if __name__ == "__main__":
    run_command(main, LabelConfig)
