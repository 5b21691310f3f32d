#include "findings/thread_snapshot.h"

#include <algorithm>

namespace causeway::findings {

std::vector<ThreadNow> snapshot(const dept::Arena& arena) {
  constexpr auto relaxed = std::memory_order_relaxed;
  std::vector<ThreadNow> threads;
  for (uint32_t i = 1, used = arena.used<dept::ThreadState>(); i < used; ++i) {
    const dept::ThreadState& state = arena.at<dept::ThreadState>(dept::StateId(i));
    ThreadNow now;
    now.thread = dept::ThreadId(state.thread.load(std::memory_order_acquire));
    if (now.thread == dept::ThreadId::kNone) continue;
    const dept::Thread& thread = arena.at<dept::Thread>(now.thread);
    if (thread.ended_ns.load(relaxed) != 0) continue;
    now.tid = thread.tid;
    now.sequence = state.waiting_sequence.load(std::memory_order_acquire);
    now.object = state.waiting_object();
    now.cls = dept::ClassId(state.waiting_class.load(relaxed));
    now.stack = dept::StackId(state.waiting_stack.load(relaxed));
    const uint32_t flags = state.waiting_flags.load(relaxed);
    now.timed = (flags & dept::Witness::kTimed) != 0;
    // Waiting for readers alone does not happen; for readers and writers is a writer's, or a queued reader's.
    now.event = (flags >> 16 & 7) == bit(dept::Event::kRead) ? dept::Event::kRead : dept::Event::kWrite;
    now.site = state.site_of_wait();
    const uint32_t held = std::min(state.held(), dept::kMaxHeld);
    for (uint32_t k = 0; k < held; ++k) {
      const dept::Held& entry = state.held_list[k];
      if (entry.object == dept::ObjectId::kNone || (entry.flags & dept::Held::kIgnored) != 0) continue;
      now.held.push_back({entry.object, entry.cls, entry.stack, entry.line == 0 ? entry.site : 0, entry.event});
    }
    // Not changed meanwhile: it was true at one moment. A thread that waits changes nothing of what it holds.
    std::atomic_thread_fence(std::memory_order_acquire);
    const bool whole = state.waiting_sequence.load(relaxed) == now.sequence && now.sequence % 2 == 0;
    now.waits = whole && now.object != dept::ObjectId::kNone;
    threads.push_back(std::move(now));
  }
  return threads;
}

}  // namespace causeway::findings
