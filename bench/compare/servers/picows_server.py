"""A broadcast server on picows:  python picows_server.py PORT

"/?id=00042" receives; on any connection "*text" goes to all who receive, and "@00042text" to one of them."""

import asyncio
import sys

from picows import WSListener, WSMsgType, ws_create_server

receivers = {}


class Connection(WSListener):
    def __init__(self, path):
        self.id = path.partition(b"?id=")[2]

    def on_ws_connected(self, transport):
        if self.id:
            receivers[self.id] = transport

    def on_ws_disconnected(self, transport):
        receivers.pop(self.id, None)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            data = frame.get_payload_as_bytes()
            if data[:1] == b"*":
                for receiver in receivers.values():
                    receiver.send(WSMsgType.TEXT, data[1:])
            elif receiver := receivers.get(data[1:6]):
                receiver.send(WSMsgType.TEXT, data[6:])


async def main():
    server = await ws_create_server(
        lambda request: Connection(request.path), "127.0.0.1", int(sys.argv[1]), backlog=4096, websocket_handshake_timeout=60
    )
    await server.serve_forever()


asyncio.run(main())
