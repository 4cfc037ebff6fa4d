"""Entry of a task: signal handlers first, everything else after.

A signal that arrives while Python is still importing would kill the job before it saves. So this
file imports nothing heavy, and passes the list of received signals to the worker. `python -m
launch.job PLAN [--task N] [--first N]`
"""

import signal

received: list[int] = []
for _number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(_number, lambda number, _frame: received.append(number))

if __name__ == "__main__":
    import sys

    from launch.scheduler import task

    sys.exit(task.main(sys.argv[1:], received, check_code=True))
