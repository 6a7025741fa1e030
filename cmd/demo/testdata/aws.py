"""The AWS CLI, loaded once for many calls: Python takes most of a call to load it.

aws.py serve SOCKET         loads it, prints the command for a call, and forks for each until standard input ends
aws.py call SOCKET ARG...   a call, with the files, environment and folder of this process
"""

import json
import os
import shlex
import socket
import socketserver
import sys
import threading
import time
import types


def call(path, arguments):
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        server.sendall(json.dumps([arguments, dict(os.environ), os.getcwd()]).encode())
        server.shutdown(socket.SHUT_WR)
        status = server.recv(1)
    return status[0] if status else 255


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 100


class Call(socketserver.StreamRequestHandler):
    def handle(self):
        from awscli import clidriver

        _, files, _, _ = socket.recv_fds(self.request, 1, 3)
        sys.argv[1:], environment, folder = json.load(self.rfile)
        for number, file in enumerate(files):
            os.dup2(file, number)
        environment["AWS_DATA_PATH"] = os.environ["AWS_DATA_PATH"]  # which the CLI sets as it is loaded
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        try:
            status = clidriver.main()
        except SystemExit as end:
            status = end.code or 0
        sys.stdout.flush()
        self.wfile.write(bytes([status]))


def serve(path):
    from awscli import clidriver
    from botocore import waiter

    waiter.time = types.SimpleNamespace(sleep=lambda _: time.sleep(1))  # `aws cloudformation wait` asks every 30 s
    with open(os.devnull, "w") as sys.stderr:  # a call to nobody loads what a call needs
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_MAX_ATTEMPTS="1")
        nobody = ["--endpoint-url", "http://127.0.0.1:1", "--region", "us-east-1"]
        clidriver.create_clidriver().main([*nobody, "sts", "get-caller-identity"])
    sys.stderr = sys.__stderr__
    threading.Thread(target=Server(path, Call).serve_forever, daemon=True).start()
    print(shlex.join([sys.executable, "-I", "-S", os.path.abspath(__file__), "call", path]), flush=True)
    sys.stdin.read()
    os.remove(path)
    os.rmdir(os.path.dirname(path))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
