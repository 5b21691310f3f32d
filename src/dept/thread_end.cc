#include "dept/thread_end.h"

#include "dept/dependencies.h"
#include "dept/waiters.h"

namespace causeway::dept::thread_end {
namespace {

// Of a wait that is under way: it was not over before anything else, and nothing is known of what came before it.
constexpr uint32_t kNotOver = UINT32_MAX;

// Another thread may yet unlock it in its holder's place (records.h, kHandedOver): if so the wait ends, and the thread's end tells.
bool may_be_handed_over(const Object& object) {
  return is_lock(object.kind) && (object.flags.load(std::memory_order_relaxed) & (Object::kRecursive | Object::kErrorCheck)) == 0;
}

ThreadState* state_of(Arena& arena, ObjectId exit) {
  for (uint32_t i = 1, used = arena.used<ThreadState>(); i < used; ++i) {
    ThreadState& state = arena.at<ThreadState>(StateId(i));
    const auto thread = ThreadId(state.thread.load(std::memory_order_acquire));
    if (thread != ThreadId::kNone && arena.at<Thread>(thread).object.load(std::memory_order_relaxed) == index_of(exit)) return &state;
  }
  return nullptr;
}

}  // namespace

void wait_is_owed(Tracker& tracker, ThreadContext* self, const Tracker::WaitOf& wait) {
  Arena& arena = tracker.arena();
  const auto exit = ObjectId(arena.at<Thread>(self->thread).object.load(std::memory_order_relaxed));
  if (exit == ObjectId::kNone || self->irq_depth != 0 || arena.at<Object>(exit).wgen.load(std::memory_order_acquire) == 0 ||
      may_be_handed_over(arena.at<Object>(wait.object)))
    return;
  const ClassId cls = tracker.class_of(exit, Event::kWrite);
  Witness witness = Tracker::witness_of(self, exit, Event::kWrite, wait.object, wait.event,
                                        Witness::kWindow | wait.flags | (wait.timed ? uint32_t{Witness::kTimed} : 0));
  if (cls == wait.cls || !tracker.graph().wants(cls, wait.cls, witness)) return;
  witness.start = tracker.waiters().requested_at(arena.at<Object>(exit));
  witness.wait = wait.stack.id(arena);
  witness.clock = tracker.order().snapshot(*self);
  tracker.fill_guards(self, self->held(), exit, witness);
  tracker.depend(cls, wait.cls, witness);
}

void joining(Tracker& tracker, ObjectId exit, LazyStack& stack) {
  Arena& arena = tracker.arena();
  const ThreadState* state = state_of(arena, exit);
  if (state == nullptr) return;
  // It changes while it is read: the same twice was so.
  const uint32_t sequence = state->waiting_sequence.load(std::memory_order_acquire);
  const ObjectId object = state->waiting_object();
  const uint32_t flags = state->waiting_flags.load(std::memory_order_relaxed);
  auto wanted = ClassId(state->waiting_class.load(std::memory_order_relaxed));
  const Site site{state->site_of_wait(), 0};
  Witness witness{};
  witness.thread = ThreadId(state->thread.load(std::memory_order_relaxed));
  if (object == ObjectId::kNone || may_be_handed_over(arena.at<Object>(object)) || (flags & Witness::kTimed) != 0) return;
  if (state->waiting_sequence.load(std::memory_order_acquire) != sequence || state->waiting_object() != object) return;
  if (tracker.waiters().is_woken(arena.at<Object>(object), witness.thread)) return;
  witness.to_event = (flags >> 16 & 7) == bit(Event::kRead) ? Event::kRead : Event::kWrite;
  if (wanted == ClassId::kNone) wanted = tracker.class_of(object, witness.to_event);
  const ClassId cls = tracker.class_of(exit, Event::kWrite);
  witness.from_object = exit;
  witness.to_object = object;
  witness.flags = Witness::kWindow;
  witness.epoch = kNotOver;
  if (cls == wanted || wanted == ClassId::kNone || !tracker.graph().wants(cls, wanted, witness)) return;
  witness.start = stack.id(arena);
  witness.wait = tracker.site_stacks().find(wanted, site);
  if (witness.wait == StackId::kNone) witness.wait = arena.at<Class>(wanted).site;
  tracker.depend(cls, wanted, witness);
}

}  // namespace causeway::dept::thread_end
