#include "server/control.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "base/clock.h"
#include "hw/packet.h"

namespace causeway::server {

namespace {

// An abstract address: a leading NUL, and the length says where the name ends.
Result<socklen_t> abstract_address(std::string_view name, sockaddr_un* address) {
  if (name.empty() || name.size() > sizeof(address->sun_path) - 1)
    return fail(ENAMETOOLONG, "the name of a socket has 1 to 107 bytes");
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

std::string socket_name(std::string_view name, std::string_view what) {
  return fmt::format("causeway/{}/{}/{}", ::getuid(), name, what);
}

}  // namespace

std::string machine_socket_name(std::string_view name) { return socket_name(name, "machine"); }
std::string kernel_socket_name(std::string_view name) { return socket_name(name, "kernel"); }

std::string client_socket_name(std::string_view name) { return socket_name(name, "client"); }

Status bind_to(int socket, std::string_view abstract_name) {
  sockaddr_un address;
  socklen_t length = CW_TRY(abstract_address(abstract_name, &address));
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), length) != 0) return fail_with_errno("cannot name a socket");
  return {};
}

Result<UniqueFd> listen_on(std::string_view abstract_name, int type) {
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_with_errno("cannot make a socket");
  CW_TRY(bind_to(fd.get(), abstract_name));
  if (::listen(fd.get(), SOMAXCONN) != 0) return fail_with_errno("cannot listen on the control socket");
  return fd;
}

Result<UniqueFd> connect_to(std::string_view abstract_name, int type) {
  sockaddr_un address;
  socklen_t length = CW_TRY(abstract_address(abstract_name, &address));
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_with_errno("cannot make a socket");
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0)
    return fail_with_errno("nobody listens on this socket");
  return fd;
}

bool Reply::ok() const { return text("ok") == "1" && text("error").empty(); }

std::string Reply::text(std::string_view name) const {
  auto line = std::find_if(lines.begin(), lines.end(), [&](const auto& l) { return l.first == name; });
  return line == lines.end() ? std::string() : line->second;
}

uint64_t Reply::number(std::string_view name) const {
  std::string value = text(name);
  uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

std::vector<std::string> Reply::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : lines)
    if (key == name) values.push_back(value);
  return values;
}

Result<Reply> ask(std::string_view socket_name, std::string_view request, unsigned timeout_ms, int file) {
  UniqueFd fd = CW_TRY(connect_to(socket_name, SOCK_STREAM));
  std::string line = std::string(request) + "\n";
  CW_TRY(hw::send_packet(fd.get(), line.data(), line.size(), file));

  std::string text;
  uint64_t deadline = monotonic_ns() + uint64_t{timeout_ms} * 1'000'000;
  for (bool open = true; open;) {
    uint64_t now = monotonic_ns();
    if (now >= deadline) return fail(ETIMEDOUT, "the kernel did not answer in time");
    pollfd readable{fd.get(), POLLIN, 0};
    int ready = ::poll(&readable, 1, static_cast<int>((deadline - now) / 1'000'000 + 1));
    if (ready <= 0) continue;
    char buffer[4096];
    ssize_t count = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
    open = count > 0;
  }

  Reply reply;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string_view one(text.data() + at, end - at);
    size_t equals = one.find('=');
    if (equals != std::string_view::npos) reply.lines.emplace_back(one.substr(0, equals), one.substr(equals + 1));
    at = end + 1;
  }
  if (reply.lines.empty()) return fail(ECONNRESET, "the kernel ended before it answered");
  return reply;
}

}  // namespace causeway::server
