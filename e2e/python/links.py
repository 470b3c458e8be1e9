"""A TCP link between a node and its broker that can stop forwarding silently, and counts connections."""

import asyncio
import collections
import contextlib
import threading
import time


class Links:
    """The event loop of all links, in its own thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def open(self, target):
        """A link to port `target` of this machine."""
        return asyncio.run_coroutine_threadsafe(Link.listening(target), self.loop).result(10)

    def close(self):
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _end(self):
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Link:
    """Forwards from `port` to `target`. While frozen, it reads and writes nothing; connections are still accepted, as by the far side of a router."""

    def __init__(self, target):
        self.target, self.accepted, self.port = target, [], None
        self.subscription = None  # the local port of the node's connection for subscriptions to the broker
        self.loop = asyncio.get_running_loop()
        self.flows, self.subscriptions_flow = asyncio.Event(), asyncio.Event()
        self.flows.set()
        self.subscriptions_flow.set()

    @classmethod
    async def listening(cls, target):
        link = cls(target)
        link.server = await asyncio.start_server(link._serve, "127.0.0.1", 0)
        link.port = link.server.sockets[0].getsockname()[1]
        return link

    def freeze(self, only_subscriptions=False):
        """Stops forwarding in both directions; no connection is closed."""
        self.loop.call_soon_threadsafe((self.subscriptions_flow if only_subscriptions else self.flows).clear)

    def thaw(self):
        """Forwards again, beginning with the bytes that were held back."""
        for flow in (self.flows, self.subscriptions_flow):
            self.loop.call_soon_threadsafe(flow.set)

    def busiest_second(self, since):
        """The most connections that were opened within one second, after `since` (monotonic)."""
        window, most = collections.deque(), 0
        for moment in list(self.accepted):
            if moment < since:
                continue
            window.append(moment)
            while moment - window[0] > 1:
                window.popleft()
            most = max(most, len(window))
        return most

    async def _serve(self, reader, writer):
        self.accepted.append(time.monotonic())
        await self.flows.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        flows = [self.flows]
        await asyncio.gather(self._pump(reader, far_writer, flows), self._pump(far_reader, writer, flows))

    async def _pump(self, reader, writer, flows):
        """Forwards one direction while all of `flows` are set; both directions share them."""
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(1 << 16)
                if b"SUBSCRIBE" in data and len(flows) == 1:
                    flows.append(self.subscriptions_flow)
                    self.subscription = writer.get_extra_info("sockname")[1]
                for flow in flows:
                    await flow.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()
