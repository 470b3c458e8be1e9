// A broadcast server on uWebSockets:  uwebsockets PORT
// "/?id=00042" receives; on any connection "*text" goes to all who receive, and "@00042text" to one of them.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unordered_map>

#include "App.h"

struct Client {
    std::string id;
};

using Socket = uWS::WebSocket<false, true, Client>;

int main(int, char **arguments) {
    int port = std::atoi(arguments[1]);
    std::unordered_map<std::string, Socket *> receivers;
    uWS::App app;
    uWS::App::WebSocketBehavior<Client> behaviour;
    behaviour.compression = uWS::DISABLED;
    behaviour.idleTimeout = 0;
    behaviour.maxBackpressure = 64 * 1024 * 1024;
    behaviour.upgrade = [](auto *response, auto *request, auto *context) {
        response->template upgrade<Client>(
            {std::string(request->getQuery("id"))}, request->getHeader("sec-websocket-key"),
            request->getHeader("sec-websocket-protocol"), request->getHeader("sec-websocket-extensions"), context);
    };
    behaviour.open = [&](auto *socket) {
        if (auto &id = socket->getUserData()->id; !id.empty()) {
            receivers[id] = socket;
            socket->subscribe("all");
        }
    };
    behaviour.message = [&](auto *, std::string_view text, uWS::OpCode code) {
        if (text.substr(0, 1) == "*") {
            app.publish("all", text.substr(1), code);
        } else if (text.size() > 6) {
            auto found = receivers.find(std::string(text.substr(1, 5)));
            if (found != receivers.end()) {
                found->second->send(text.substr(6), code);
            }
        }
    };
    behaviour.close = [&](auto *socket, int, std::string_view) { receivers.erase(socket->getUserData()->id); };
    app.ws<Client>("/*", std::move(behaviour));
    app.listen("127.0.0.1", port, [](auto *listening) {
        if (!listening) {
            std::fputs("cannot listen\n", stderr);
            std::exit(1);
        }
    });
    app.run();
}
