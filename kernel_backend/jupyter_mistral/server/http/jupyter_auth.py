"""The door of the Jupyter server: its login, authorizer and XSRF check; cross-origin requests are refused."""

from __future__ import annotations

from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth import User
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from ...protocol.failures import Failure
from .identity import CALLER
from .tokens import SCOPE, Tokens

RESOURCE = "mistral"
TOKENS = Tokens()
ACTIONS = {"GET": "read", "POST": "execute"}


class JupyterDoor(APIHandler):
    """Admits users whom the Jupyter server authorizes for the resource `mistral`."""

    auth_resource = RESOURCE
    # answers 405: no other origin may send a preflight
    options = web.RequestHandler.options  # type: ignore[assignment]  # tornado's own, as every handler has it

    async def enter(self) -> None:
        """Jupyter's checks of host, login, XSRF and origin, then stricter ones."""
        name = self._token_name()
        if name is not None:
            self._enter_by_token(name)
        else:
            await self._enter_by_login()
        self._refuse_other_origins()
        CALLER.set(str(getattr(self.current_user, "username", self.current_user)))
        action = ACTIONS.get(self.request.method or "", "write")
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, RESOURCE)):
            raise web.HTTPError(403)

    def _token_name(self) -> str | None:
        """The name of the request's token, if it was made by `jupyter mistral token`."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return TOKENS.name(token.strip()) if scheme.lower() in ("bearer", "token") else None

    def _enter_by_token(self, name: str) -> None:
        if not self.check_host():
            raise web.HTTPError(403)
        if not self.request.path.startswith(url_path_join(self.base_url, SCOPE)):
            raise Failure(
                "forbidden", f"This token is only valid for {SCOPE}.", "Use Jupyter's token for other addresses."
            )
        self.current_user = self._jupyter_current_user = User(username=f"token:{name}", name=name, display_name=name)

    async def _enter_by_login(self) -> None:
        try:
            await APIHandler.prepare(self)
        except web.HTTPError:
            # also raised for a missing XSRF token, but without a login the client must log in first
            if getattr(self, "_jupyter_current_user", None) is None and self.check_host():
                self.get_login_url()
            raise
        if self.current_user is None:
            self.get_login_url()

    def _refuse_other_origins(self) -> None:
        # Jupyter admits pages of any origin with a token; our routes admit only its own and those that an admin allowed
        if self.is_cross_origin():
            raise web.HTTPError(403)

    def is_cross_origin(self) -> bool:
        if self.allow_origin or self.allow_origin_pat:
            return not super().check_origin()
        origin = self.get_origin()
        if origin is not None:
            return origin.lower().partition("://")[2] != self.request.host.lower()
        return self.request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")

    def get_login_url(self) -> str:
        raise Failure("unauthorized", "You are not logged in.", "Log in to Jupyter, or send its token.")

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_cors_headers()

    def set_cors_headers(self) -> None:
        for name in ("Origin", "Credentials", "Headers", "Methods"):
            self.clear_header(f"Access-Control-Allow-{name}")

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        self.update_api_activity()
        return super(APIHandler, self).finish(*args)  # APIHandler's own sets the JSON type on everything

    @staticmethod
    def guard(name: str, method: Any) -> Any:
        """Adds Jupyter's own decorators, which its start-up check looks for, as a second check after `enter`."""
        return web.authenticated(authorized(ACTIONS.get(name.upper(), "write"))(method))
