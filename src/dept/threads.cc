// Threads of a tracker: made known, begun, ended, joined; and the child of a fork.
#include <cerrno>
#include <cstring>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "dept/class_choice.h"
#include "dept/dependencies.h"
#include "dept/hash.h"
#include "dept/tracker.h"
#include "dept/waiters.h"

namespace causeway::dept {
namespace {

// A free state that an ended thread has left, or a new one.
ThreadState* take_state(Arena& arena, std::atomic<uint32_t>& free, ThreadId thread, StateId* id) {
  if (free.load(std::memory_order_relaxed) != 0) {
    for (uint32_t i = 1, used = arena.used<ThreadState>(); i < used; ++i) {
      ThreadState& state = arena.at<ThreadState>(StateId(i));
      uint32_t nobody = 0;
      if (!state.thread.compare_exchange_strong(nobody, index_of(thread))) continue;
      free.fetch_sub(1);
      *id = StateId(i);
      return &state;
    }
  }
  ThreadState* state = arena.add<ThreadState>(id);
  if (state != nullptr) state->thread.store(index_of(thread), std::memory_order_release);
  return state;
}

}  // namespace

ThreadContext* detail::make_context() { return Tracker::get().attach(ThreadId::kNone); }

ThreadId Tracker::describe_thread(ThreadContext* creator, uint64_t start_routine, StackId created) {
  ThreadId id;
  Thread* thread = arena_.add<Thread>(&id);
  if (thread == nullptr) return ThreadId::kNone;
  thread->creator = creator == nullptr ? ThreadId::kNone : creator->thread;
  thread->created = created;
  thread->level = creator == nullptr ? 0 : arena_.at<Thread>(creator->thread).level + 1;
  thread->start_routine = start_routine;
  thread->started_ns = monotonic_ns();
  ObjectId object_id;
  if (Object* object = arena_.add<Object>(&object_id)) {
    // Recursive parallel algorithms join threads like themselves, one level further down.
    object->key = mix(mix(class_choice::key_of_site(Site::at_pc(start_routine)), thread->level), 0x7412ead);
    object->kind = Kind::kThread;
    object->birth = created;
    object->flags.store(Object::kRecorded, std::memory_order_relaxed);
    thread->object.store(index_of(object_id), std::memory_order_release);
  }
  return id;
}

ThreadState* Tracker::adopt(ThreadContext* self, ThreadId known) {
  const ThreadId id = known != ThreadId::kNone ? known : describe_thread(nullptr, 0, StackId::kNone);
  if (id == ThreadId::kNone) return nullptr;
  StateId place;
  ThreadState* state = take_state(arena_, threads_free_, id, &place);
  if (state == nullptr) return nullptr;
  self->state = detail::tls.state = state;
  self->thread = id;
  self->clock = 0;
  self->snapshot = ClockId::kNone;
  self->pending = 0;
  self->not_locks = state->waiting_sequence.load(std::memory_order_relaxed) / 2;
  self->locks_told = 0;
  Thread& thread = arena_.at<Thread>(id);
  thread.tid = ::gettid();
  thread.state.store(index_of(place), std::memory_order_release);
  order_.thread_begins(*self);
  EngineLockGuard hold(threads_lock_);
  self->next_thread = threads_;
  self->previous_thread = &threads_;
  if (threads_ != nullptr) threads_->previous_thread = &self->next_thread;
  threads_ = self;
  return state;
}

// The calling thread gets a context and a state. Runs with signals as they are: `inside` keeps handlers out.
ThreadContext* Tracker::attach(ThreadId known) {
  Inside inside;
  const bool is_first = arena_.used<Thread>() <= 1;
  void* memory = ::mmap(nullptr, sizeof(ThreadContext), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* self = memory == MAP_FAILED ? nullptr : static_cast<ThreadContext*>(memory);  // of zeros
  if (self == nullptr || adopt(self, known) == nullptr) {
    if (self != nullptr) ::munmap(self, sizeof(ThreadContext));
    arena_.count(Counter::kThreadsWithoutState);
    detail::tls.inside += detail::kNeverAgain;
    return nullptr;
  }
  self->context_id = self->process_context = 1;
  self->stack_low = UINTPTR_MAX;
  self->top = &detail::tls.top;
  self->below[0].place = HeldHere::kFlags;
  self->random = index_of(self->thread) * 2654435761u + static_cast<uint32_t>(monotonic_ns());
  const auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  self->stack_top = is_first ? ::getauxval(AT_RANDOM) : frame + 4096;
  if (self->stack_top < frame) self->stack_top = frame + 4096;
  refresh_salt(self);
  detail::tls.context = self;
  return self;
}

ThreadId Tracker::thread_created(ThreadContext* creator, uint64_t start_routine, Site site) {
  if (creator == nullptr) return ThreadId::kNone;
  Inside inside;
  LazyStack stack(site, __builtin_return_address(0));
  const ThreadId id = describe_thread(creator, start_routine, stack.id(arena_));
  if (id != ThreadId::kNone) order_.thread_created(*creator, id);
  return id;
}

void Tracker::thread_begins(ThreadId id, const char* name) {
  if (!is_on() || detail::tls.inside != 0) return;
  ThreadContext* self = detail::tls.context != nullptr ? detail::tls.context : attach(id);
  if (self == nullptr) return;
  Thread& thread = arena_.at<Thread>(self->thread);
  for (unsigned i = 0; name != nullptr && i + 1 < sizeof(thread.name) && name[i] != 0; ++i) thread.name[i] = name[i];
}

void Tracker::thread_ends(ThreadContext* self) {
  if (self == nullptr) return;
  Inside inside;
  drop_given_up(self);
  if (self->pending != 0) waiters().settle(*this, self, ObjectId::kNone);
  Thread& thread = arena_.at<Thread>(self->thread);
  const auto object = ObjectId(thread.object.load(std::memory_order_relaxed));
  for (uint32_t i = self->held(); i-- != 0;) {
    const Held& held = self->held_list()[i];
    Object& lock = arena_.at<Object>(held.object);
    if ((held.flags & (Held::kIgnored | Held::kTentative)) == 0 && is_lock(lock.kind) &&
        (lock.flags.load(std::memory_order_relaxed) & (Object::kRobust | Object::kDead)) == 0) {
      LazyStack stack(Site{held.site, held.line}, stack_of(held));
      report(Problem::kMisuse, Misuse::kExitHeld, Level::kInfo, self, held.object, stack, stack.id(arena_));
      // Whoever unlocks it now is another: that is wanted since it was taken.
      if (held.event == Event::kWrite) {
        request(self, lock.wgen);
        lock.wgen.store(held.wgen != 0 ? held.wgen : 1, std::memory_order_relaxed);
        lock.flags.fetch_or(Object::kHandedOver, std::memory_order_relaxed);
      }
    }
  }
  if (object != ObjectId::kNone) {
    LazyStack stack(Site{}, nullptr);
    const Object& exit = arena_.at<Object>(object);
    const ClassId cls = class_of(object, Event::kWrite);
    const StackId requested_at = waiters().requested_at(exit);
    // A thread's end is the event of its whole life, in whatever contexts it was.
    depend_in_window(self, {.cls = cls, .object = object, .wgen = exit.wgen.load(std::memory_order_acquire), .stack = stack,
                            .requested_at = requested_at != StackId::kNone ? requested_at : thread.created, .any_context = true});
  }
  order_.thread_ends(*self);
  tell_locks(self);
  thread.ended_ns.store(monotonic_ns(), std::memory_order_relaxed);
  thread.state.store(0, std::memory_order_release);
  detail::tls.context = nullptr;
  detail::tls.inside += detail::kNeverAgain;
  self->state->held_and_waiting.store(0, std::memory_order_relaxed);
  self->state->given_up.store(0, std::memory_order_relaxed);
  self->state->thread.store(0, std::memory_order_release);
  threads_free_.fetch_add(1);
  {
    EngineLockGuard hold(threads_lock_);
    *self->previous_thread = self->next_thread;
    if (self->next_thread != nullptr) self->next_thread->previous_thread = self->previous_thread;
  }
  ::munmap(self, sizeof(ThreadContext));
}

void Tracker::tell_locks(ThreadContext* self) {
  constexpr uint32_t kMask = UINT32_MAX / 2;  // it goes up by two
  const uint32_t taken = (self->state->waiting_sequence.load(std::memory_order_relaxed) / 2 - self->not_locks) & kMask;
  arena_.count(Counter::kLocks, (taken - self->locks_told) & kMask);
  self->locks_told = taken;
}

void Tracker::thread_joined(ThreadContext* self, ThreadId ended) {
  if (self == nullptr || ended == ThreadId::kNone) return;
  Inside inside;
  order_.thread_joined(*self, ended);
}

ObjectId Tracker::object_of(ThreadId thread) {
  return thread == ThreadId::kNone ? ObjectId::kNone
                                   : ObjectId(arena_.at<Thread>(thread).object.load(std::memory_order_acquire));
}

}  // namespace causeway::dept
