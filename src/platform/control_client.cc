#include "platform/control_client.h"

#include <poll.h>

#include "base/log.h"
#include "hw/packet.h"

namespace causeway::platform {

namespace control = hw::control;

namespace {
constexpr int kPatienceMs = 30'000;
// Answers that fit into a socket's buffer for sure: the machine does not wait for who does not read them.
constexpr size_t kUnderWay = 8;
}

Result<ControlClient::Answer> ControlClient::call(control::Op op, uint64_t value, uint64_t argument, int fd) {
  sync::MutexLock lock(mutex_);
  CW_TRY(send(op, value, argument, fd));
  return receive(op);
}

std::vector<Status> ControlClient::call_each(control::Op op, std::span<const uint32_t> values) {
  std::vector<Status> results;
  results.reserve(values.size());
  sync::MutexLock lock(mutex_);
  size_t sent = 0;
  Status sending;
  while (results.size() < values.size()) {
    while (sending && sent < values.size() && sent - results.size() < kUnderWay)
      if (sending = send(op, values[sent], 0, -1); sending) ++sent;
    if (results.size() == sent) {
      results.push_back(sending);
      ++sent;
      continue;
    }
    auto answer = receive(op);
    results.push_back(answer ? Status{} : Status{fail(answer.error())});
  }
  return results;
}

Status ControlClient::send(control::Op op, uint64_t value, uint64_t argument, int fd) {
  control::Request request{control::kProtocolVersion, op, value, argument};
  if (Status sent = hw::send_packet(socket_.get(), &request, sizeof request, fd); !sent) {
    Errno code = sent.error().code;
    if (code == Errno{EPIPE} || code == Errno{ECONNRESET} || code == Errno{ENOTCONN})
      return fail(ECONNRESET, "the machine has closed the control socket");
    return fail(sent.error());
  }
  return {};
}

Result<ControlClient::Answer> ControlClient::receive(control::Op op) {
  if (!socket_) return fail(ECONNRESET, "the machine has not answered before on the control socket");
  pollfd polled{socket_.get(), POLLIN, 0};
  int ready;
  do {
    ready = ::poll(&polled, 1, kPatienceMs);
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) {
    // A late answer would be taken for the next one's: this connection is of no more use.
    socket_.reset();
    return fail(ECONNRESET, "the machine does not answer on the control socket");
  }
  Answer answer{};
  auto packet = CW_TRY(hw::receive_packet(socket_.get(), &answer.reply, sizeof answer.reply));
  if (packet.bytes != sizeof answer.reply)
    return fail(EPROTO, "the answer on the control socket is not a machine's");
  answer.reply.text[control::kReplyText - 1] = '\0';
  if (answer.reply.error != 0) {
    log::debug("platform", "control operation {}: {}", static_cast<uint32_t>(op), answer.reply.text);
    return fail(answer.reply.error, "the machine refused a control operation");
  }
  answer.fd = std::move(packet.fd);
  return answer;
}

}  // namespace causeway::platform
