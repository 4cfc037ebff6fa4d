"""Entry of a child: signals first, everything else after.

    python -m launch.worker.child SWEEP_FOLDER WRITER TASK_PREFIX GPU_SHARE ARCHIVE

Signals for the whole job reach its children too. They are ignored here: the parent says when to
stop.
"""

import signal

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
for _number in STOP_SIGNALS:
    signal.signal(_number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

if __name__ == "__main__":
    import logging
    import os
    import sys
    from pathlib import Path

    from launch.worker import _child

    sweep, name, prefix, gpu_share, archive = sys.argv[1:]
    _child.main(_child.Writer(Path(sweep), name, prefix, float(gpu_share), archive))
    # everything is on disk: threads and processes of a user's class must not keep the task, and
    # Python's own end walks all objects of torch, half a second of CPU time
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
