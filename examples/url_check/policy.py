"""Which URLs and addresses may be asked: the guard against server-side request forgery.

Whoever may submit a URL makes a pod inside the cluster send a request. Without a guard that reaches what only the pod
can reach: other services, the node, the cloud's metadata with its credentials. So only addresses of the public internet
are asked, and hosts that the operator of the check names. What a host's *name* looks like says nothing (decimal, octal
and rebinding tricks): the addresses it resolves to are what is judged, at the moment of connecting.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address

# From IANA's registries of special-purpose addresses. Written out, because what `ipaddress` calls private or global has
# changed between Python versions. The first that matches names the reason.
_SPECIAL: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "reserved"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier) and cloud metadata"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),  # Azure's, in the midst of public addresses
        ("169.254.0.0/16", "link-local and cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "IPv4-translated"),
        ("64:ff9b:1::/48", "IPv4-translated"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # Teredo among them, which carries an IPv4 address
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "IPv4-translated"),
        ("3fff::/20", "documentation"),
    )
)
_PUBLIC_IPV6 = IPv6Network("2000::/3")  # what IANA gives out as global unicast; all else is reserved


class RefusedByPolicy(Exception):
    """The policy forbids this URL or address; the message says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Public addresses over http and https, and every address of the hosts that are allowed by name."""

    allowed_hosts: frozenset[str] = field(default_factory=frozenset)  # lower case, without a dot at the end

    @classmethod
    def parse(cls, allowed_hosts: str) -> "Policy":
        """Read host names or addresses separated by commas, as in URL_CHECK_ALLOWED_HOSTS."""
        return cls(frozenset(_plain(host) for host in allowed_hosts.split(",") if host.strip()))

    def check_url(self, *, scheme: str, host: str, userinfo: str) -> None:
        """Raise RefusedByPolicy for a URL that may not be asked whatever its host resolves to."""
        if scheme not in ("http", "https"):
            raise RefusedByPolicy(f"the scheme {scheme or '(none)'} is neither http nor https")
        if not host:
            raise RefusedByPolicy("the URL names no host")
        if userinfo:
            raise RefusedByPolicy("the URL holds a user name or a password")

    def check_address(self, host: str, address: Address) -> None:
        """Raise RefusedByPolicy unless the address is public, or the host it was found for is allowed."""
        if _plain(host) in self.allowed_hosts:
            return
        if (kind := special(address)) is not None:
            raise RefusedByPolicy(f"{host} has the address {address}, which is {kind}, not public")


def special(address: Address) -> str | None:
    """Return what keeps an address from being public, None if it is public."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"  # only such addresses need an interface beside them
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return "reserved"
    return None


def _plain(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()
