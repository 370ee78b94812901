"""Kraken's face: REST and WebSocket v2 as Kraken's API Center documents them (2026)."""

import base64
import binascii
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from aether.exchange.face import ApiKey, Refused, Socket
from aether.exchange.faces.kraken_account import ACCOUNT_FIELDS, WITHOUT_RIGHT
from aether.exchange.faces.kraken_feed import KrakenFeed
from aether.exchange.faces.kraken_names import KrakenError, as_json, exact, iso, refusal_text
from aether.exchange.faces.kraken_orders import form_fields
from aether.exchange.faces.kraken_trading import SOCKET_FIELDS, TRADING_FIELDS, check_fields

COUNTER_MAX = 20.0
COUNTER_DECAY_PER_S = 0.5
NONCE_ERROR = "EAPI:Invalid nonce"
HEAVY = frozenset({"TradesHistory", "ClosedOrders", "Ledgers"})
"""What costs four of the counter."""

MESSAGE_FIELDS = frozenset({"method", "params", "req_id"})
_WRONG = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, msgspec.DecodeError)
"""What reading a request that is none of Kraken's comes to."""


class KrakenFace(KrakenFeed):
    """Serves `/0/public`, `/0/private` and `/v2`."""

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/0/public/{endpoint}", self._public)
        app.router.add_post("/0/public/{endpoint}", self._public)
        app.router.add_post("/0/private/{endpoint:.+}", self._private)
        app.router.add_get("/v2", self._socket)

    def beat(self, tenth: int) -> None:
        """Send the heartbeat of each second."""
        if tenth % 10 == 0:
            for socket in self.sockets:
                socket.send('{"channel":"heartbeat"}', faulty=False)

    # REST.

    async def _public(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text() if request.method == "POST" else ""

        def work() -> tuple[int, Any, dict[str, str]]:
            query = {**request.query, **(_fields(request, body) if body else {})}
            return 200, {"error": [], "result": self.public_result(endpoint, query)}, {}

        return await self.answer(request, lambda: _answered(work), faulty=False)

    async def _private(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text()

        def work() -> tuple[int, Any, dict[str, str]]:
            fields = _fields(request, body)
            key = self._authenticate(request, body, fields)
            if self._over_limit(key, endpoint):
                raise KrakenError("EAPI:Rate limit exceeded")
            asked = {name: value for name, value in fields.items() if name not in ("nonce", "otp")}
            return 200, {"error": [], "result": self._private_result(endpoint, asked, key)}, {}

        return await self.answer(request, lambda: _answered(work), faulty=endpoint in TRADING_FIELDS)

    def _authenticate(self, request: web.Request, body: str, fields: dict[str, str]) -> ApiKey:
        """Return the key of a request. Raises KrakenError."""
        key = self.keys.get(request.headers.get("API-Key", ""))
        if key is None:
            raise KrakenError("EAPI:Invalid key")
        nonce = fields.get("nonce", "")
        inner = hashlib.sha256((nonce + body).encode()).digest()
        secret = base64.b64decode(key.secret)
        expected = hmac.new(secret, request.path.encode() + inner, hashlib.sha512).digest()
        try:
            given = base64.b64decode(request.headers.get("API-Sign", ""), validate=True)
        except (ValueError, binascii.Error):
            given = b""
        if not hmac.compare_digest(expected, given):
            raise KrakenError("EAPI:Invalid signature")
        if not nonce.isdigit() or int(nonce) <= key.nonce:
            raise KrakenError(NONCE_ERROR)
        key.nonce = int(nonce)
        return key

    def _over_limit(self, key: ApiKey, endpoint: str) -> bool:
        if self.faults.happens("rate_limit"):
            return True
        if not self.enforce_limits or endpoint in TRADING_FIELDS:
            return False
        now = self.venue.clock() / 1e9
        key.counter = max(0.0, key.counter - (now - key.counter_s) * COUNTER_DECAY_PER_S)
        key.counter_s = now
        cost = 4 if endpoint in HEAVY else 1
        if key.counter + cost > COUNTER_MAX:
            return True
        key.counter += cost
        return False

    def _private_result(self, endpoint: str, f: dict[str, str], key: ApiKey) -> Any:
        is_trading = endpoint in TRADING_FIELDS
        if endpoint in WITHOUT_RIGHT or (is_trading and not key.can_trade):
            raise KrakenError("EGeneral:Permission denied")
        if self.venue.state == "maintenance":
            raise KrakenError("EService:Unavailable")
        if not is_trading and endpoint not in ACCOUNT_FIELDS:
            raise KrakenError("EGeneral:Unknown method")
        check_fields(f, TRADING_FIELDS[endpoint] if is_trading else ACCOUNT_FIELDS[endpoint])
        if is_trading:
            return self.trading_result(endpoint, f, self.venue.account(key.account))
        return self.account_result(endpoint, f, key)

    # Socket.

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await self.serve_socket(request, self._on_text, self._opened)

    def _opened(self, socket: Socket) -> None:
        data = [{"version": "2.0.0", "system": self.venue.state, "api_version": "v2", "connection_id": 1}]
        socket.send(as_json({"channel": "status", "type": "update", "data": data}), faulty=False)

    async def _on_text(self, socket: Socket, text: str) -> None:
        received = iso(self.now_ns())
        try:
            message = exact.decode(text)
            method, params = str(message.get("method", "")), message.get("params") or {}
        except (msgspec.DecodeError, RecursionError):
            socket.send(as_json({"error": "Malformed request", "success": False}), faulty=False)
            return
        head: dict[str, Any] = {"method": method}
        if "req_id" in message:
            head["req_id"] = message["req_id"]
        if method == "ping":
            socket.send(as_json({**head, "method": "pong", "time_in": received, "time_out": received}), faulty=False)
            return
        is_trading = method in SOCKET_FIELDS
        if is_trading and self.faults.happens("lose_request"):
            socket.close()
            return
        if is_trading and self.faults.happens("slow_request"):
            self.hear_late(self._on_text(socket, text))
            return
        for answer in self._socket_answers(socket, head, message, params, received):
            ends = {"success": "error" not in answer, "time_in": received, "time_out": iso(self.now_ns())}
            full = as_json({**head, **answer, **ends})
            if is_trading:
                socket.answer(full)
            else:
                socket.send(full, faulty=False)

    def _socket_answers(
        self, socket: Socket, head: dict[str, Any], message: dict[str, Any], params: dict[str, Any], received: str
    ) -> list[dict[str, Any]]:
        """Carry out a request; return the answers that are still to be sent."""
        method = head["method"]
        try:
            for name in message:
                if name not in MESSAGE_FIELDS:
                    raise KrakenError(f"Unsupported field: '{name}' for the given msg type: {method.replace('_', ' ')}")
            if method in ("subscribe", "unsubscribe"):
                self.subscription(socket, head, params, received)
                return []
            key = self.key_of(params)
            if not key.can_trade:
                raise KrakenError("EGeneral:Permission denied")
            if self.faults.happens("rate_limit"):
                raise KrakenError("EOrder:Rate limit exceeded")
            return self.socket_result(method, params, key)
        except Refused as error:
            return [{"error": refusal_text(error)}]
        except KrakenError as error:
            return [{"error": str(error)}]
        except _WRONG:
            return [{"error": "EGeneral:Invalid arguments"}]


def _answered(work: Any) -> tuple[int, Any, dict[str, str]]:
    """Return the answer to a REST request: Kraken answers refusals with status 200 too."""
    try:
        answer: tuple[int, Any, dict[str, str]] = work()
        return answer
    except Refused as error:
        return 200, {"error": [refusal_text(error)]}, {}
    except KrakenError as error:
        return 200, {"error": [str(error)]}, {}
    except _WRONG:
        return 200, {"error": ["EGeneral:Invalid arguments"]}, {}


def _fields(request: web.Request, body: str) -> dict[str, str]:
    """Return the fields of a form or of a JSON body; a name that comes several times is a list."""
    if request.content_type == "application/json":
        return form_fields(exact.decode(body))
    found: dict[str, str] = {}
    for name, values in parse_qs(body, keep_blank_values=True).items():
        if name.endswith("[]"):
            found |= {f"{name[:-2]}[{n}]": value for n, value in enumerate(values)}
        else:
            found[name] = values[0]
    return found
