#include "machine/control_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "hw/bus.h"
#include "hw/packet.h"

namespace causeway::machine {

namespace control = hw::control;

namespace {

constexpr size_t kMaxConnections = 256;

bool is_same_user(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == ::geteuid();
}

void set_text(control::Reply& reply, std::string_view text) {
  size_t length = std::min<size_t>(text.size(), control::kReplyText - 1);
  std::memcpy(reply.text, text.data(), length);
  reply.text[length] = '\0';
}

}  // namespace

ControlServer::~ControlServer() {
  stop();
}

Status ControlServer::start() {
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return fail_with_errno("cannot create an eventfd");
  thread_ = std::thread([this] { run(); });
  return {};
}

void ControlServer::wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void ControlServer::request_stop() {
  stop_.store(true);
  wake();
}

void ControlServer::stop() {
  request_stop();
  if (thread_.joinable()) thread_.join();
}

UniqueFd ControlServer::connect() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return {};
  UniqueFd ours(fds[0]), theirs(fds[1]);
  {
    std::lock_guard lock(mutex_);
    if (stop_.load()) return {};
    incoming_.push_back(std::move(ours));
  }
  wake();
  return theirs;
}

Status ControlServer::listen(std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() > sizeof address.sun_path - 1)
    return fail(EINVAL, "the name of a control socket is not 1 to 107 bytes long");
  // A leading NUL puts the name into the abstract space: no file, gone with its last descriptor.
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail_with_errno("cannot create a control socket");
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0)
    return fail_with_errno("cannot bind the control socket to its name");
  if (::listen(listener.get(), 64) != 0) return fail_with_errno("cannot listen on the control socket");
  {
    std::lock_guard lock(mutex_);
    listeners_.push_back(std::move(listener));
  }
  wake();
  return {};
}

void ControlServer::run() {
  std::vector<pollfd> polled;
  std::vector<int> listeners;
  while (!stop_.load()) {
    listeners.clear();
    {
      std::lock_guard lock(mutex_);
      for (UniqueFd& socket : incoming_) connections_.push_back({std::move(socket), {}});
      incoming_.clear();
      for (const UniqueFd& listener : listeners_) listeners.push_back(listener.get());
    }
    polled.clear();
    polled.push_back({wake_.get(), POLLIN, 0});
    for (int listener : listeners) polled.push_back({listener, POLLIN, 0});
    for (const Connection& connection : connections_) polled.push_back({connection.socket.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;  // EINTR

    uint64_t ignored;
    if (polled[0].revents != 0) [[maybe_unused]]
      ssize_t got = ::read(wake_.get(), &ignored, sizeof ignored);
    for (size_t i = connections_.size(); i-- > 0 && !stop_.load();) {
      if (polled[1 + listeners.size() + i].revents == 0) continue;
      if (!serve(connections_[i])) connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(i));
    }
    for (size_t i = 0; i < listeners.size(); ++i) {
      if (polled[1 + i].revents != 0) accept_from(listeners[i]);
    }
  }
  // A client learns from the closed socket that the machine is gone.
  connections_.clear();
  std::lock_guard lock(mutex_);
  incoming_.clear();
  listeners_.clear();
}

void ControlServer::accept_from(int listener) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return;
  if (!is_same_user(socket.get())) {
    if (complaints_.next()) log::warn("machine", "control socket: refused a peer of another user");
    return;
  }
  if (connections_.size() >= kMaxConnections) {
    if (complaints_.next())
      log::warn("machine", "control socket: {} connections, want at most {}", connections_.size() + 1,
                kMaxConnections);
    return;
  }
  connections_.push_back({std::move(socket), {}});
}

bool ControlServer::serve(Connection& connection) {
  control::Request request;
  auto packet = hw::receive_packet(connection.socket.get(), &request, sizeof request, MSG_DONTWAIT);
  if (!packet) return packet.error().code == Errno{EAGAIN};

  control::Reply reply{};
  UniqueFd fd_to_send;
  bool power_off = false;
  Status status = [&]() -> Status {
    if (packet->bytes != sizeof request) return fail(EPROTO, "a control message is 24 bytes long");
    if (request.version != control::kProtocolVersion)
      return fail(EPROTO, "the machine speaks version 1 of the control protocol");
    power_off = request.op == control::Op::kPowerOff;
    return answer(connection, request, std::move(packet->fd), reply, fd_to_send);
  }();
  if (!status) {
    reply.error = static_cast<int32_t>(status.error().code);
    set_text(reply, status.error().message);
    log::debug("machine", "control socket: {}", to_string(status.error()));
  }
  CW_POINT("machine.control.before_reply");
  // A peer that does not read its replies must not stop the others.
  Status sent =
      hw::send_packet(connection.socket.get(), &reply, sizeof reply, fd_to_send.get(), MSG_DONTWAIT);
  if (power_off) target_.power_off();
  return sent.has_value();
}

Status ControlServer::answer(Connection& connection, const control::Request& request, UniqueFd received,
                             control::Reply& reply, UniqueFd& fd_to_send) {
  switch (request.op) {
    case control::Op::kAttach: {
      fd_to_send.reset(::fcntl(target_.bus_fd(), F_DUPFD_CLOEXEC, 0));
      if (!fd_to_send) return fail_with_errno("cannot duplicate the bus descriptor");
      CW_FAIL_POINT("machine.control.attach");
      reply.index = target_.attach();
      reply.value = hw::kBusSize;
      return {};
    }
    case control::Op::kObserve: {
      // Another open file description: what is passed cannot be written through.
      fd_to_send.reset(::open(fmt::format("/proc/self/fd/{}", target_.bus_fd()).c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd_to_send) return fail_with_errno("cannot open the bus descriptor for reading");
      reply.value = hw::kBusSize;
      return {};
    }
    case control::Op::kGetFd: {
      if (request.value > ~uint32_t{0}) return fail(ENOENT, "no region has this fd_id");
      fd_to_send = CW_TRY(target_.regions().duplicate_fd(static_cast<uint32_t>(request.value)));
      return {};
    }
    case control::Op::kHotAdd: {
      if (!received) return fail(EINVAL, "a hot-add comes with a descriptor");
      RegionMap::Placement placement = CW_TRY(target_.regions().hot_add(std::move(received), request.value));
      reply.index = placement.index;
      reply.value = placement.base.value();
      return {};
    }
    case control::Op::kRemove:
      if (request.value >= hw::kMaxRegions) return fail(ENOENT, "no region with this index");
      return target_.regions().remove(static_cast<uint32_t>(request.value));
    case control::Op::kStatus: {
      if (request.value == 0) connection.status = target_.status();
      reply.value = connection.status.size();
      if (request.value < connection.status.size())
        set_text(reply, std::string_view(connection.status).substr(request.value));
      return {};
    }
    case control::Op::kInject:
      return target_.faults().arm(static_cast<control::Fault>(request.value), request.argument);
    case control::Op::kPowerOff:
      return {};
  }
  return fail(EOPNOTSUPP, "unknown control operation");
}

}  // namespace causeway::machine
