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
        self.loop = asyncio.get_running_loop()
        self.flows = asyncio.Event()
        self.flows.set()

    @classmethod
    async def listening(cls, target):
        link = cls(target)
        server = await asyncio.start_server(link._serve, "127.0.0.1", 0, limit=1 << 16)
        link.port = server.sockets[0].getsockname()[1]
        link.server = server  # keeps it open
        return link

    def freeze(self):
        """From now on nothing passes, in either direction, and no connection is closed."""
        self.loop.call_soon_threadsafe(self.flows.clear)

    def thaw(self):
        """What was held back passes now."""
        self.loop.call_soon_threadsafe(self.flows.set)

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
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while True:
                await self.flows.wait()
                data = await reader.read(1 << 16)
                await self.flows.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()
