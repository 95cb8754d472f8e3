"""Which addresses and URLs the policy of url_check lets through."""

from ipaddress import ip_address

import pytest

from examples.url_check.policy import Policy, RefusedByPolicy, special

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "2001:200::1",
]

SPECIAL = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "reserved"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.1", "cloud metadata"),
    ("100.100.100.200", "cloud metadata"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "cloud metadata"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "cloud metadata"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.192", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "reserved"),
    ("192.168.0.1", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.1", "benchmarking"),
    ("198.51.100.7", "documentation"),
    ("203.0.113.9", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::2", "reserved"),
    ("::127.0.0.1", "reserved"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:169.254.169.254", "IPv4-mapped"),
    ("64:ff9b::7f00:1", "IPv4-translated"),
    ("64:ff9b:1::1", "IPv4-translated"),
    ("100::1", "reserved"),
    ("2001::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "IPv4-translated"),
    ("3fff::1", "documentation"),
    ("4000::1", "reserved"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "reserved"),
    ("ff02::1", "multicast"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_asked(address: str) -> None:
    assert special(ip_address(address)) is None
    Policy().check_address("example.com", ip_address(address))


@pytest.mark.parametrize(("address", "kind"), SPECIAL, ids=[address for address, _ in SPECIAL])
def test_any_other_address_is_refused_with_its_kind(address: str, kind: str) -> None:
    with pytest.raises(RefusedByPolicy, match=f"^example.com has the address .*{kind}"):
        Policy().check_address("example.com", ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["url-check-targets", "URL-Check-Targets", "url-check-targets.", "127.0.0.1", "::1", "[::1]"],
)
def test_an_allowed_host_may_have_any_address(host: str) -> None:
    policy = Policy.parse(" url-check-targets , 127.0.0.1,[::1],")
    policy.check_address(host, ip_address("10.1.2.3"))


@pytest.mark.parametrize("host", ["targets", "url-check-targets.evil.example", "evil-url-check-targets", ""])
def test_a_host_that_only_looks_like_an_allowed_one_is_refused(host: str) -> None:
    with pytest.raises(RefusedByPolicy):
        Policy.parse("url-check-targets").check_address(host, ip_address("10.1.2.3"))


@pytest.mark.parametrize("setting", ["", " ", ",", " , "], ids=repr)
def test_an_empty_setting_allows_no_host(setting: str) -> None:
    assert Policy.parse(setting) == Policy()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_http_and_https_are_asked(scheme: str) -> None:
    Policy().check_url(scheme=scheme, host="example.com", userinfo="")


@pytest.mark.parametrize(
    ("scheme", "host", "userinfo", "why"),
    [
        ("ftp", "example.com", "", "scheme ftp"),
        ("file", "", "", "scheme file"),
        ("gopher", "example.com", "", "scheme gopher"),
        ("", "example.com", "", r"scheme \(none\)"),
        ("http", "", "", "no host"),
        ("http", "example.com", "user:secret", "user name or a password"),
    ],
    ids=["ftp", "file", "gopher", "no scheme", "no host", "user"],
)
def test_other_urls_are_refused_before_anything_is_resolved(scheme: str, host: str, userinfo: str, why: str) -> None:
    with pytest.raises(RefusedByPolicy, match=why):
        Policy.parse(host).check_url(scheme=scheme, host=host, userinfo=userinfo)
