#include "platform/control_client.h"

#include <poll.h>

#include "base/log.h"
#include "hw/packet.h"

namespace causeway::platform {

namespace control = hw::control;

namespace {
constexpr int kPatienceMs = 30'000;
}

Result<ControlClient::Answer> ControlClient::call(control::Op op, uint64_t value, uint64_t argument, int fd) {
  sync::MutexLock lock(mutex_);
  control::Request request{control::kProtocolVersion, op, value, argument};
  if (Status sent = hw::send_packet(socket_.get(), &request, sizeof request, fd); !sent) {
    Errno code = sent.error().code;
    if (code == Errno{EPIPE} || code == Errno{ECONNRESET} || code == Errno{ENOTCONN})
      return fail(ECONNRESET, "the machine has closed the control socket");
    return fail(sent.error());
  }
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
