"""A consumer to which the control stream's messages are all from before what it reads first: as if written 20 minutes ago."""

import sys

from leveret_consumer.__main__ import main
from leveret_consumer.control_inbox import RECENT, ControlInbox

if __name__ == "__main__":
    defaults = ControlInbox.__init__.__kwdefaults__
    assert defaults is not None
    assert defaults["recent"] == RECENT
    defaults["recent"] = "1s"
    sys.exit(main())
