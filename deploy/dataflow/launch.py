"""What a Flex Template's launcher starts: the stage that its image was built for, with the parameters as flags."""

from __future__ import annotations

import os
import sys

from pipelines.command_line.cli import main

if __name__ == "__main__":
    main([os.environ["AWE_STAGE"], *sys.argv[1:]])
