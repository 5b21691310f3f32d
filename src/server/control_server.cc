#include "server/control_server.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "kernel/preflight.h"
#include "server/control.h"

namespace causeway::server {

namespace {

constexpr size_t kMaxRequest = 8192;
constexpr int kRequestTimeoutMs = 2000;
constexpr std::string_view kPointOption = " --point ";

using Lines = std::vector<std::pair<std::string, std::string>>;

void send_lines(int connection, const Lines& lines) {
  std::string text;
  for (const auto& [name, value] : lines) text += name + "=" + value + "\n";
  for (size_t sent = 0; sent < text.size();) {
    ssize_t count = ::send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return;  // the client is gone; its request was carried out
    sent += static_cast<size_t>(count);
  }
}

void send_error(int connection, const Error& error, std::string_view reason) {
  send_lines(connection, {{"error", name_of(error.code)}, {"reason", std::string(reason)}});
}

// Up to the first newline; empty if the client sends none in time.
std::string receive_request(int connection) {
  std::string request;
  char byte;
  pollfd readable{connection, POLLIN, 0};
  while (request.size() < kMaxRequest && ::poll(&readable, 1, kRequestTimeoutMs) == 1 &&
         ::recv(connection, &byte, 1, 0) == 1) {
    if (byte == '\n') return request;
    request += byte;
  }
  return {};
}

Lines target_lines(const kernel::Target& target) {
  Lines lines{{"ok", "1"}, {"path", target.path}, {"release", target.release}, {"build_id", target.build_id}};
  for (const std::string& format : target.formats) lines.emplace_back("format", format);
  return lines;
}

}  // namespace

Status ControlServer::run(int signals) {
  while (true) {
    pollfd events[2] = {{listener_, POLLIN, 0}, {signals, POLLIN, 0}};
    if (::poll(events, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return fail_with_errno("cannot wait for control requests");
    }
    if (events[1].revents != 0) return {};
    UniqueFd connection(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
    if (connection && serve(connection.get()) == Next::kEnd) return {};
  }
}

ControlServer::Next ControlServer::serve(int connection) {
  std::string request = receive_request(connection);
  std::string_view text = request;
  std::string_view verb = text.substr(0, text.find(' '));
  std::string_view arguments = text.size() > verb.size() ? text.substr(verb.size() + 1) : std::string_view();
  if (verb == "status") {
    send_lines(connection, status_lines(kernel_.status()));
  } else if (verb == "check") {
    check(connection, std::string(arguments));
  } else if (verb == "kexec") {
    kexec(connection, arguments);
  } else if (verb == "points") {
    Lines lines{{"ok", "1"}};
    for (const point::Point* point : point::list()) lines.emplace_back("point", point->name);
    send_lines(connection, lines);
  } else if (verb == "shutdown") {
    send_lines(connection, {{"ok", "1"}});
    return Next::kEnd;
  } else {
    send_error(connection, Error{Errno{EINVAL}, "", {}}, fmt::format("unknown request '{}'", verb));
  }
  return Next::kGoOn;
}

void ControlServer::check(int connection, const std::string& path) {
  std::string reason;
  Result<kernel::Target> target = kernel::preflight(path, kernel_.handover_format(), &reason);
  if (target) {
    send_lines(connection, target_lines(*target));
  } else {
    send_error(connection, target.error(), reason);
  }
}

void ControlServer::kexec(int connection, std::string_view arguments) {
  std::vector<std::string> points;
  for (size_t at; (at = arguments.rfind(kPointOption)) != std::string_view::npos;) {
    points.emplace_back(arguments.substr(at + kPointOption.size()));
    arguments = arguments.substr(0, at);
  }
  std::string path(arguments);
  std::string reason;
  Result<kernel::Target> target = kernel::preflight(path, kernel_.handover_format(), &reason);
  if (!target) {
    log::warn("server", "live update refused: {}", reason);
    send_error(connection, target.error(), reason);
    return;
  }
  if (Status frozen = kernel_.freeze(); !frozen) {
    send_error(connection, frozen.error(), frozen.error().message);
    return;
  }
  send_lines(connection, target_lines(*target));
  Error error = jump_(path, points);
  log::error("server", "the jump to {} failed, this kernel goes on: {}", path, to_string(error));
  kernel_.thaw();
  send_error(connection, error, fmt::format("the jump to {} failed; the old kernel goes on", path));
}

}  // namespace causeway::server
