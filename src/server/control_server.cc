#include "server/control_server.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "hw/packet.h"
#include "kernel/preflight.h"
#include "server/control.h"
#include "server/handover_dump.h"

namespace causeway::server {

namespace {

constexpr size_t kMaxRequest = 8192;
constexpr int kRequestTimeoutMs = 2000;
constexpr std::string_view kPointOption = " --point ";
constexpr std::string_view kDumpOption = " --dump";

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

struct Request {
  std::string text;
  UniqueFd file;
};

// Up to the first newline; empty if the client sends none in time.
Request receive_request(int connection) {
  Request request;
  char byte;
  pollfd readable{connection, POLLIN, 0};
  while (request.text.size() < kMaxRequest && ::poll(&readable, 1, kRequestTimeoutMs) == 1) {
    Result<hw::Packet> packet = hw::receive_packet(connection, &byte, sizeof byte);
    if (!packet) break;
    if (packet->fd) request.file = std::move(packet->fd);
    if (byte == '\n') return request;
    request.text += byte;
  }
  return {};
}

Lines target_lines(const kernel::Target& target) {
  Lines lines{{"ok", "1"}, {"path", target.path}, {"release", target.release}, {"build_id", target.build_id}};
  for (const std::string& format : target.formats) lines.emplace_back("format", format);
  return lines;
}

void append_dump_lines(Lines* lines, const inspect::CoreSummary& summary, uint64_t ns) {
  for (const auto& [name, value] : {std::pair<const char*, uint64_t>{"ns", ns},
                                    {"segments", summary.segments},
                                    {"file_bytes", summary.file_bytes},
                                    {"written_bytes", summary.written_bytes},
                                    {"preserved_bytes", summary.preserved_bytes},
                                    {"problems", summary.problems}})
    lines->emplace_back(fmt::format("dump.{}", name), fmt::format("{}", value));
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
  const Request request = receive_request(connection);
  std::string_view text = request.text;
  std::string_view verb = text.substr(0, text.find(' '));
  std::string_view arguments = text.size() > verb.size() ? text.substr(verb.size() + 1) : std::string_view();
  if (verb == "status") {
    send_lines(connection, status_lines(kernel_.status()));
  } else if (verb == "check") {
    check(connection, std::string(arguments));
  } else if (verb == "kexec") {
    kexec(connection, arguments, request.file.get());
  } else if (verb == "devices") {
    Lines lines{{"ok", "1"}};
    for (std::string_view path : kernel_.devices().paths()) {
      lines.emplace_back("device", path);
      lines.emplace_back("ioctl_type", fmt::format("{:#x}", kernel_.devices().find(path)->ioctl_type()));
    }
    send_lines(connection, lines);
  } else if (verb == "points") {
    Lines lines{{"ok", "1"}};
    for (const point::Point* point : point::list()) lines.emplace_back("point", point->name);
    send_lines(connection, lines);
  } else if (verb == "drain") {
    Status drained = kernel_.drain();
    if (drained) {
      send_lines(connection, {{"ok", "1"}});
    } else {
      send_error(connection, drained.error(), "work is still under way");
    }
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

void ControlServer::kexec(int connection, std::string_view arguments, int file) {
  std::vector<std::string> points;
  for (size_t at; (at = arguments.rfind(kPointOption)) != std::string_view::npos;) {
    points.emplace_back(arguments.substr(at + kPointOption.size()));
    arguments = arguments.substr(0, at);
  }
  const bool dump = arguments.size() > kDumpOption.size() &&
                    arguments.substr(arguments.size() - kDumpOption.size()) == kDumpOption;
  if (dump) arguments.remove_suffix(kDumpOption.size());
  std::string path(arguments);
  std::string reason;
  if (dump && file < 0) {
    send_error(connection, Error{Errno{EINVAL}, "", {}}, "no descriptor of a file to dump into came with the request");
    return;
  }
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
  Lines answer = target_lines(*target);
  if (dump) {
    const uint64_t start = monotonic_ns();
    Result<inspect::CoreSummary> summary = dump_handover(kernel_.platform(), file);
    if (!summary) {
      log::warn("server", "live update refused, the handover cannot be dumped: {}", to_string(summary.error()));
      kernel_.thaw();
      send_error(connection, summary.error(),
                 fmt::format("the handover cannot be dumped: {} ({})", summary.error().message,
                             name_of(summary.error().code)));
      return;
    }
    append_dump_lines(&answer, *summary, monotonic_ns() - start);
  }
  send_lines(connection, answer);
  Error error = jump_(path, points);
  log::error("server", "the jump to {} failed, this kernel goes on: {}", path, to_string(error));
  kernel_.thaw();
  send_error(connection, error, fmt::format("the jump to {} failed; the old kernel goes on", path));
}

}  // namespace causeway::server
