"""TLS for the blocking clients of `websockets`."""

import ssl


def trusting(cafile=None):
    """Trusts `cafile` alone, or the file in SSL_CERT_FILE.

    Those clients read and write in two threads. Python's sockets sometimes lose a request that is written while a ticket of TLS 1.3
    is read, whatever the server is; TLS 1.2 has no such tickets.
    """
    context = ssl.create_default_context(cafile=cafile)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
