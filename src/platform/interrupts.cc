#include "platform/interrupts.h"

#include <array>
#include <bitset>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "hw/futex.h"
#include "sync/cond_var.h"

namespace causeway::platform {
namespace {

constexpr unsigned kFirstVector = 32;
constexpr int kNoVector = -1;
// Wake-ups are not lost, but a machine can die between raising an interrupt and the wake-up.
constexpr uint64_t kMaxSleepNs = 100'000'000;

}  // namespace

struct Interrupts::State {
  explicit State(hw::InterruptMailbox* shared) : mailbox(shared) {}

  hw::InterruptMailbox* const mailbox;
  std::thread thread;
  std::atomic<bool> stopping{false};

  sync::Mutex mutex{"platform.interrupts"};
  sync::CondVar handler_returned{"platform.interrupts.handler_returned"};
  std::bitset<hw::kVectors> used CW_GUARDED_BY(mutex);
  std::array<std::shared_ptr<std::function<void()>>, hw::kVectors> handlers CW_GUARDED_BY(mutex);
  int running CW_GUARDED_BY(mutex) = kNoVector;
  std::thread::id runner CW_GUARDED_BY(mutex);

  void run() {
    while (!stopping.load()) {
      uint32_t seen = mailbox->doorbell.load(std::memory_order_acquire);
      for (unsigned vector = 0; vector < hw::kVectors && !stopping.load(); ++vector) handle(vector);
      mailbox->kernel_sleeps.store(1, std::memory_order_seq_cst);
      if (mailbox->doorbell.load(std::memory_order_seq_cst) == seen && !stopping.load())
        hw::futex_wait(mailbox->doorbell, seen, kMaxSleepNs);
      mailbox->kernel_sleeps.store(0, std::memory_order_relaxed);
    }
  }

  void handle(unsigned vector) {
    uint32_t raised = mailbox->raised[vector].load(std::memory_order_acquire);
    if (raised == mailbox->acknowledged[vector].load(std::memory_order_relaxed)) return;
    std::shared_ptr<std::function<void()>> handler;
    {
      sync::MutexLock lock(mutex);
      handler = handlers[vector];
      if (handler == nullptr) return;
      running = static_cast<int>(vector);
      runner = std::this_thread::get_id();
    }
    CW_POINT("platform.interrupts.before_handler");
    (*handler)();
    CW_POINT("platform.interrupts.before_acknowledge");
    // Only what was raised before the handler began: a later one may have come too late for it to see.
    mailbox->acknowledged[vector].store(raised, std::memory_order_release);
    {
      sync::MutexLock lock(mutex);
      running = kNoVector;
      runner = {};
    }
    handler_returned.notify_all();
  }

  // Makes the thread look at every vector again.
  void rescan() {
    mailbox->doorbell.fetch_add(1, std::memory_order_seq_cst);
    hw::futex_wake(mailbox->doorbell);
  }
};

Interrupts::Interrupts(hw::InterruptMailbox* mailbox) : state_(std::make_unique<State>(mailbox)) {}
Interrupts::~Interrupts() {
  stop();
}

Result<uint8_t> Interrupts::allocate() {
  sync::MutexLock lock(state_->mutex);
  for (unsigned vector = kFirstVector; vector < hw::kVectors; ++vector) {
    // Something pending on a vector nobody has claimed belongs to a device of an earlier kernel.
    bool is_pending = state_->mailbox->raised[vector].load(std::memory_order_relaxed) !=
                      state_->mailbox->acknowledged[vector].load(std::memory_order_relaxed);
    if (state_->used[vector] || is_pending) continue;
    state_->used[vector] = true;
    return static_cast<uint8_t>(vector);
  }
  return fail(ENOSPC, "every interrupt vector is in use");
}

Status Interrupts::claim(uint8_t vector) {
  if (vector < kFirstVector) return fail(EINVAL, "vectors for devices start at 32");
  sync::MutexLock lock(state_->mutex);
  if (state_->used[vector]) return fail(EBUSY, "the interrupt vector is in use");
  state_->used[vector] = true;
  return {};
}

void Interrupts::set_handler(uint8_t vector, std::function<void()> handler) {
  std::shared_ptr<std::function<void()>> next;
  if (handler) next = std::make_shared<std::function<void()>>(std::move(handler));
  {
    sync::MutexLock lock(state_->mutex);
    state_->handlers[vector].swap(next);
    while (state_->running == vector && state_->runner != std::this_thread::get_id())
      state_->handler_returned.wait(state_->mutex);
  }
  state_->rescan();
}

void Interrupts::release(uint8_t vector) {
  set_handler(vector, {});
  sync::MutexLock lock(state_->mutex);
  state_->used[vector] = false;
}

void Interrupts::start() {
  if (state_->thread.joinable()) return;
  state_->stopping.store(false);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

void Interrupts::stop() {
  if (!state_->thread.joinable()) return;
  state_->stopping.store(true);
  state_->rescan();
  state_->thread.join();
}

}  // namespace causeway::platform
