"""A TCP link between a node and its broker that can stop forwarding without a word, and counts who connects."""

import asyncio
import collections
import contextlib
import threading
import time


class Links:
    """The event loop of all links, in a thread of its own."""

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
    """Forwards from `port` to `target`. Frozen, it reads and writes nothing; connections are still accepted, as by a router's far side."""

    def __init__(self, target):
        self.target, self.accepted, self.port = target, [], None
        self.subscription = None  # the port from which the node's subscriptions reach the broker
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
        """From now on nothing passes, in either direction, and no connection is closed."""
        self.loop.call_soon_threadsafe((self.subscriptions_flow if only_subscriptions else self.flows).clear)

    def thaw(self):
        """What was held back passes now."""
        for flow in (self.flows, self.subscriptions_flow):
            self.loop.call_soon_threadsafe(flow.set)

    def busiest_second(self, since):
        """The most connections that were opened within one second after `since` (monotonic)."""
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
        """Passes on in one direction while all of `flows` are set, which both directions share."""
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
