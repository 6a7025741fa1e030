"""A token endpoint by Authlib, with the clients of realm.json, on 127.0.0.1 and the port that is its argument."""
import json
import pathlib
import sys

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask


class Client(ClientMixin):
    def __init__(self, secret, enabled):
        self.secret, self.enabled = secret, enabled

    def get_allowed_scope(self, scope):
        return scope or "read"

    def check_client_secret(self, client_secret):
        return self.secret == client_secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type):
        return self.enabled and grant_type == "client_credentials"


class Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


realm = json.loads(pathlib.Path(__file__).with_name("realm.json").read_text())
clients = {c["clientId"]: Client(c["secret"], c["serviceAccountsEnabled"]) for c in realm["clients"] if c.get("enabled", True)}
app = Flask(__name__)
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["read"]
server = AuthorizationServer(app, query_client=clients.get, save_token=lambda token, request: None)
server.register_grant(Grant)
app.post("/token")(lambda: server.create_token_response())
app.run(port=int(sys.argv[1]))
