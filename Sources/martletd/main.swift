// The gateway's daemon: wiring alone.

import Gateway
import Glibc

exit(Daemon.main(Array(CommandLine.arguments.dropFirst())))
