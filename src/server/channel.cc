#include "server/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "hw/packet.h"

namespace causeway::server {

Channel::Channel(UniqueFd socket, Mapping memory) : socket_(std::move(socket)), memory_(std::move(memory)) {}

Channel::~Channel() {
  if (memory_) page().turn.store(wire::Turn::kClosed, std::memory_order_seq_cst);
}

Result<std::unique_ptr<Channel>> Channel::accept(UniqueFd connection) {
  wire::Hello hello;
  ssize_t got = ::recv(connection.get(), &hello, sizeof hello, 0);
  if (got <= 0) return fail(ECONNRESET, "the client left");
  bool known = got == sizeof hello && hello.magic == wire::kMagic && hello.version == wire::kVersion;
  wire::Welcome welcome;
  welcome.error = known ? 0 : EPROTO;
  if (!known) {
    (void)hw::send_packet(connection.get(), &welcome, sizeof welcome);
    return fail(EPROTO, "the client speaks another version of the protocol");
  }
  UniqueFd memory(::memfd_create("causeway-channel", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), wire::kPageBytes) != 0) return fail_with_errno("no memory for a client's channel");
  // Sealed, so that a client cannot take the page away under us.
  ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  Mapping mapping = CW_TRY(Mapping::shared(memory.get(), 0, wire::kPageBytes));
  if (!hw::send_packet(connection.get(), &welcome, sizeof welcome, memory.get()))
    return fail(ECONNRESET, "the client left");
  return std::unique_ptr<Channel>(new Channel(std::move(connection), std::move(mapping)));
}

bool Channel::receive_signal(int flags) {
  wire::Signal signal{};
  Result<hw::Packet> packet = hw::receive_packet(socket_.get(), &signal, sizeof signal, flags);
  if (!packet) return packet.error().code == Errno{EAGAIN};
  // One at a time is asked for; what a client sends unasked must not use up the kernel's numbers.
  if (packet->fd) descriptor_ = std::move(packet->fd);
  return true;
}

bool Channel::wait() {
  wire::Page& shared = page();
  auto ours = [&] { return shared.turn.load(std::memory_order_seq_cst) == wire::Turn::kKernel; };
  if (!budget_.spin(ours)) {
    shared.kernel_sleeps.store(1, std::memory_order_seq_cst);
    while (!ours()) {
      if (receive_signal(0)) continue;
      if (ours()) break;  // it gave us the turn and left: the call is still carried out
      return false;
    }
    shared.kernel_sleeps.store(0, std::memory_order_relaxed);
  }
  // Read once: what is checked from here on cannot change.
  std::memcpy(&received_, &shared.message, wire::kHeader);
  received_.length = std::min<uint32_t>(received_.length, wire::kPayload);
  std::memcpy(received_.payload, shared.message.payload, received_.length);
  return true;
}

void Channel::pass(const wire::Message& message) {
  wire::Page& shared = page();
  bool has_payload = message.op == wire::Op::kCopyOut || message.op == wire::Op::kDone;
  std::memcpy(&shared.message, &message,
              wire::kHeader + (has_payload ? std::min<size_t>(message.length, wire::kPayload) : 0));
  shared.turn.store(wire::Turn::kClient, std::memory_order_seq_cst);
  if (shared.client_sleeps.load(std::memory_order_seq_cst) != 0) {
    wire::Signal wake = wire::Signal::kWake;
    // A full socket means that wake-ups are already waiting there.
    (void)hw::send_packet(socket_.get(), &wake, sizeof wake, -1, MSG_DONTWAIT);
  }
}

Result<int64_t> Channel::ask(const wire::Message& question) {
  pass(question);
  if (!wait()) return fail(ECONNRESET, "the client is gone");
  if (received_.op != wire::Op::kAnswer) return fail(EPROTO, "the client answered with another request");
  return received_.result;
}

Status Channel::send_fd(int fd) {
  wire::Signal signal = wire::Signal::kDescriptor;
  return hw::send_packet(socket_.get(), &signal, sizeof signal, fd);
}

Result<UniqueFd> Channel::take_fd() {
  while (!descriptor_) {
    pollfd readable{socket_.get(), POLLIN, 0};
    // It was sent before the turn came, so it is there by now or never.
    if (::poll(&readable, 1, 0) != 1 || !receive_signal(MSG_DONTWAIT))
      return fail(EBADF, "the client sent no descriptor");
  }
  return std::move(descriptor_);
}

}  // namespace causeway::server
