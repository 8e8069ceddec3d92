"""`python -m onboard_bot` is `onboard-bot`."""

import sys

from onboard_bot.cli import main

sys.exit(main())
