"""The AWS CLI, loaded once for many calls: Python takes most of a call to load it.

aws.py serve SOCKET         loads it, prints the command for a call, and forks for each until standard input ends
aws.py call SOCKET ARG...   a call, with the files, environment and folder of this process
"""

import json
import os
import select
import shlex
import signal
import socket
import sys
import time
import traceback
import types


def call(path, arguments):
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        server.sendall(json.dumps([arguments, dict(os.environ), os.getcwd()]).encode())
        server.shutdown(socket.SHUT_WR)
        status = server.recv(1)
    return status[0] if status else 255


def serve(path):
    from awscli import clidriver
    from botocore import waiter

    waiter.time = types.SimpleNamespace(sleep=lambda _: time.sleep(1))  # `aws cloudformation wait` asks every 30 s
    with open(os.devnull, "w") as sys.stderr:  # a call to nobody loads what a call needs
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_MAX_ATTEMPTS="1")
        nobody = ["--endpoint-url", "http://127.0.0.1:1", "--region", "us-east-1"]
        clidriver.create_clidriver().main([*nobody, "sts", "get-caller-identity"])
    sys.stderr = sys.__stderr__
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print(shlex.join([sys.executable, "-I", "-S", os.path.abspath(__file__), "call", path]), flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            if os.fork() == 0:
                answer(client, clidriver.main)
            client.close()
    os.remove(path)
    os.rmdir(os.path.dirname(path))


def answer(client, main):
    status = 255
    try:
        _, files, _, _ = socket.recv_fds(client, 1, 3)
        arguments, environment, folder = json.load(client.makefile("rb"))
        for number, file in enumerate(files):
            os.dup2(file, number)
        environment["AWS_DATA_PATH"] = os.environ["AWS_DATA_PATH"]  # which the CLI sets as it is loaded
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.argv = ["aws", *arguments]
        status = main()
        sys.stdout.flush()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        client.sendall(bytes([status]))
        os._exit(status)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
