#include "cli/live_update.h"

#include <fmt/format.h>
#include <time.h>

#include "base/clock.h"
#include "cli/brief.h"

namespace causeway::cli {
namespace {

constexpr uint64_t kBootPatienceNs = 60'000'000'000;
constexpr unsigned kFreezePatienceMs = 30'000;
// The file may be on a slow disk, and all preserved memory goes into it.
constexpr unsigned kDumpPatienceMs = 3'600'000;
constexpr uint64_t kFirstWorkPatienceNs = 5'000'000'000;

void pause_ms(long ms) {
  timespec time{0, ms * 1'000'000};
  ::nanosleep(&time, nullptr);
}

// The listening socket survives the jump, so a refused connection means that nobody is left to listen; a
// connection that was reset may have been the old kernel's.
Result<Snapshot> first_answer(const std::string& socket, std::string* reason) {
  const uint64_t end = monotonic_ns() + kBootPatienceNs;
  while (monotonic_ns() < end) {
    auto snapshot = take_snapshot(socket, 5000);
    if (snapshot) return snapshot;
    if (snapshot.error().code == Errno{ECONNREFUSED}) {
      *reason = "the new kernel died at boot";
      return fail(ECONNREFUSED, "the new kernel died at boot");
    }
    pause_ms(1);
  }
  *reason = "the new kernel does not answer";
  return fail(ETIMEDOUT, "the new kernel does not answer");
}

}  // namespace

Result<LiveUpdate> live_update(const std::string& kernel_socket, const std::string& target,
                               std::string* reason, int dump) {
  auto before = take_snapshot(kernel_socket);
  if (!before) {
    *reason = fmt::format("no kernel answers ({})", brief(before.error()));
    return fail(ENOTCONN, "no kernel answers");
  }
  LiveUpdate update;
  update.before = std::move(*before);

  const uint64_t start = monotonic_ns();
  const std::string request = fmt::format("kexec {}{}", target, dump >= 0 ? " --dump" : "");
  auto reply = server::ask(kernel_socket, request, dump >= 0 ? kDumpPatienceMs : kFreezePatienceMs, dump);
  if (reply && !reply->ok()) {
    *reason = fmt::format("refused, kernel {} goes on: {}", update.before.status.release, reply->text("reason"));
    return fail(ECANCELED, "the live update was refused");
  }
  if (reply) update.last_words = std::move(*reply);
  // No whole answer: it may have died, or jumped before the answer was out. The next answer tells.
  update.after = CW_TRY(first_answer(kernel_socket, reason));
  update.request_ns = monotonic_ns() - start;
  if (update.after.status.generation == update.before.status.generation) {
    *reason = fmt::format("the jump failed, kernel {} goes on", update.before.status.release);
    return fail(ECANCELED, "the live update did not happen");
  }
  // The kernel answers a moment before its drivers have their first interrupt.
  for (uint64_t end = monotonic_ns() + kFirstWorkPatienceNs; !update.after.working() && monotonic_ns() < end;) {
    if (!update.after.drives_devices()) break;
    pause_ms(2);
    auto again = take_snapshot(kernel_socket);
    if (!again) {
      *reason = fmt::format("the new kernel died soon after it had booted ({})", brief(again.error()));
      return fail(ECONNREFUSED, "the new kernel died soon after it had booted");
    }
    update.after = std::move(*again);
  }
  return update;
}

}  // namespace causeway::cli
