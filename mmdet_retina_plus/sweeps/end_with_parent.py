"""Run a program that ends with its parent.

Called as: end_with_parent.py PIPE PROGRAM ARGUMENT...

The worker holds the other end of the pipe. When the worker ends, even by
SIGKILL, the pipe closes, and this process ends its children and itself, so
that no training runs in parallel with its successor. The file is run by its
path and imports nothing of the package, so modules in its folder must not
shadow modules that it imports.

PROGRAM is a file, or a module after -m.
"""

import os
import runpy
import signal
import sys
import threading
from contextlib import suppress

import psutil


def end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    # torchrun starts each of its processes in a separate group.
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # It may have ended.
            process.kill()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    pipe, program, *arguments = sys.argv[1:]
    # Python puts this folder first, except in safe-path mode. Its modules must
    # not shadow others of their names.
    here = os.path.dirname(os.path.realpath(__file__))
    if os.path.realpath(sys.path[0]) == here:
        del sys.path[0]
    threading.Thread(
        target=end_with_parent, args=(int(pipe),), daemon=True
    ).start()
    if program == '-m':
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)
        return
    sys.argv = [program, *arguments]
    # As Python does for a script.
    sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
    runpy.run_path(program, run_name='__main__')


if __name__ == '__main__':
    main()
