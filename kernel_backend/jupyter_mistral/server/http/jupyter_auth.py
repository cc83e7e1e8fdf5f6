"""The Jupyter server's door: its login, its authorizer, its XSRF rules, and no cross-origin request at all."""

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
from .tokens import SCOPE, Keys

RESOURCE = "mistral"
KEYS = Keys()
ACTIONS = {"GET": "read", "POST": "execute"}


class JupyterDoor(APIHandler):
    """Lets in whom the Jupyter server knows and authorizes for the resource `mistral`."""

    auth_resource = RESOURCE
    # 405: nobody from elsewhere needs a preflight
    options = web.RequestHandler.options  # type: ignore[assignment]  # tornado's own, as every handler has it

    async def enter(self) -> None:
        """Host, login, XSRF and origin as Jupyter checks them; then what it leaves open."""
        name = self._named()
        if name is not None:
            self._enter_by_name(name)
        else:
            await self._enter_by_login()
        self._refuse_strangers()
        CALLER.set(str(getattr(self.current_user, "username", self.current_user)))
        action = ACTIONS.get(self.request.method or "", "write")
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, RESOURCE)):
            raise web.HTTPError(403)

    def _named(self) -> str | None:
        """The name of a token made by `jupyter mistral token`, where the request brings one."""
        scheme, _, given = self.request.headers.get("Authorization", "").partition(" ")
        return KEYS.name_of(given.strip()) if scheme.lower() in ("bearer", "token") else None

    def _enter_by_name(self, name: str) -> None:
        if not self.check_host():
            raise web.HTTPError(403)
        if not self.request.path.startswith(url_path_join(self.base_url, SCOPE)):
            raise Failure("forbidden", f"This token opens {SCOPE} alone.", "Ask there, or bring Jupyter's token.")
        self.current_user = self._jupyter_current_user = User(username=f"token:{name}", name=name, display_name=name)

    async def _enter_by_login(self) -> None:
        try:
            await APIHandler.prepare(self)
        except web.HTTPError:
            # also what comes of a missing XSRF token: for somebody unknown the login is what is missing
            if getattr(self, "_jupyter_current_user", None) is None and self.check_host():
                self.get_login_url()
            raise
        if self.current_user is None:
            self.get_login_url()

    def _refuse_strangers(self) -> None:
        # Jupyter lets pages of any origin in that hold a token: ours answer only its own and those that an admin allowed
        if not self.is_foreign():
            return
        raise web.HTTPError(403)

    def is_foreign(self) -> bool:
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
        return super(APIHandler, self).finish(*args)  # APIHandler's own would call everything JSON

    @staticmethod
    def guard(name: str, method: Any) -> Any:
        """Jupyter's own decorators on top of `enter`: its start-up check wants to see them, and two locks hold better."""
        return web.authenticated(authorized(ACTIONS.get(name.upper(), "write"))(method))
