"""Speak TLS with a broker that can be believed: its certificate is always checked, and for whom it is."""

import ssl

from leveret.settings import BadSetting, Tls


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Read the files; raise BadSetting, which names them."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as problem:  # ssl.SSLError is one
        raise BadSetting(f"the CA in {tls.ca} can't be used: {problem.strerror or problem}") from problem
    if tls.certificate:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as problem:
            because = problem.strerror or problem
            raise BadSetting(
                f"the certificate {tls.certificate} with its key {tls.key} can't be used: {because}"
            ) from problem
    return context
