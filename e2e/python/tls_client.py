"""How the blocking clients of `websockets` speak TLS."""

import ssl


def trusting(cafile=None):
    """Trusts `cafile` alone, or what SSL_CERT_FILE names. Those clients read and write in two threads, and Python's sockets lose a
    request now and then that is written while a ticket of TLS 1.3 is read, whatever the server is. TLS 1.2 sends none then."""
    context = ssl.create_default_context(cafile=cafile)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
