"""Who may talk to this server: decided once, at its start, from Streamlit's options and the environment."""

import ipaddress
import os
import secrets
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

import streamlit as st
from streamlit import config

from mace_app.jobs.data_roots import DATA_ROOTS_VARIABLE

TOKEN_VARIABLE = "MACE_APP_TOKEN"
SHORTEST_TOKEN = 16
LONGEST_TOKEN = 512
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class AccessError(Exception):
    """The server can't be started as it was asked to; the text is a sentence for the terminal."""


@dataclass(frozen=True)
class Access:
    """``token`` is None where none is asked for; ``generated`` says that nobody chose it, so it has to be printed.
    ``local`` is a server for this machine only.

    ``hosts`` are the names this server answers to, ``any_number`` whether every IP address is one of them, ``origins``
    the addresses of other sites whose pages may use it.
    """

    token: str | None
    local: bool
    generated: bool
    hosts: frozenset[str]
    any_number: bool
    origins: frozenset[str]

    def knows_host(self, name: str) -> bool:
        """``name`` as in `host_name`: lower case, without port."""
        if any(name == host or (host.startswith("*.") and name.endswith(host[1:])) for host in self.hosts):
            return True
        return "*" in self.hosts or (self.any_number and _is_number(name))


def is_loopback(address: str | None) -> bool:
    """Whether a server bound to ``address`` can be reached from this machine only. None means every interface."""
    if address is None:
        return False
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def decide(
    address: str | None, hosts: Iterable[str], origins: Iterable[str], environment: MutableMapping[str, str]
) -> Access:
    """The rules, for a server bound to ``address``. The chosen token is taken out of ``environment``.

    A token is asked for where other machines can reach the server, and where one was set. Then every IP address is a
    name of the server, for a page of somebody else can't be moved to a number by DNS; so is this machine's own name.
    """
    given = environment.pop(TOKEN_VARIABLE, "").strip()
    local = is_loopback(address)
    if given:
        _check(given)
    token = given or (None if local else secrets.token_urlsafe(24))
    own = {host.strip().lower().rstrip(".") for host in (*LOOPBACK_NAMES, *hosts) if host.strip()}
    if not local:
        own |= {name.lower() for name in (socket.gethostname(), address) if name}
    return Access(
        token=token,
        local=local,
        generated=token is not None and not given,
        hosts=frozenset(own),
        any_number=not local,
        origins=frozenset(origin.strip().lower().rstrip("/") for origin in origins if origin.strip()),
    )


def server_access() -> Access:
    """The access of the server that is being started, from its own options.

    Where a token is asked for because others can reach the server, pages may name files of the workspace only, unless
    data roots were set. Streamlit's own, narrower check of the host is left to ours, which knows numbers too.
    """
    address = st.get_option("server.address")
    hosts = st.get_option("server.allowedHosts")
    access = decide(address, hosts, st.get_option("server.corsAllowedOrigins"), os.environ)
    if not is_loopback(address):
        os.environ.setdefault(DATA_ROOTS_VARIABLE, "")
        config.set_option("server.allowedHosts", ["*"])
    return access


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check(token: str) -> None:
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise AccessError(
            f"{TOKEN_VARIABLE} has {len(token)} characters; a token needs {SHORTEST_TOKEN} to {LONGEST_TOKEN}. "
            "Leave the variable out to have one made, or make one with `openssl rand -hex 24`."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AccessError(
            f"{TOKEN_VARIABLE} has characters that don't fit into an address; use letters, digits, `-` and `_`."
        )
