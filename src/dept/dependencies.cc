// The four things that make an edge: waits, open event contexts, requests, events.
#include "dept/dependencies.h"

#include "dept/hash.h"
#include "dept/thread_end.h"
#include "dept/waiters.h"

namespace causeway::dept {
namespace {

bool is_guard(const Held& held) { return (held.flags & (Held::kShared | Held::kIgnored | Held::kTentative)) == 0; }

uint64_t guard_part(const Held& held) { return is_guard(held) ? Graph::hash_of_guard(held.object) : 0; }

}  // namespace

void Tracker::refresh_salt(ThreadContext* self) {
  self->generation = graph_.generation();
  std::atomic_thread_fence(std::memory_order_acquire);
  uint64_t salt = mix(self->generation, self->enabled);
  for (unsigned i = 0; i < self->irq_depth; ++i) salt = mix(salt, self->irq[i] + 1u);
  const uint32_t known_salt = !is_on() || settings_.full_stacks || self->task_off != 0 ? 0 : static_cast<uint32_t>(salt >> 32) | 1;
  if (self->salt != salt || self->known_salt != known_salt) ++self->stamp;
  self->salt = salt;
  self->known_salt = known_salt;
}

Witness Tracker::witness_of(const ThreadContext* self, ObjectId from, Event from_event, ObjectId to, Event to_event, uint32_t flags) {
  Witness witness{};
  witness.thread = self->thread;
  witness.from_object = from;
  witness.from_event = from_event;
  witness.to_object = to;
  witness.to_event = to_event;
  witness.flags = flags;
  witness.epoch = self->epoch;
  return witness;
}

uint32_t Tracker::entries_of(const ThreadContext* self, uint64_t chain) {
  uint32_t count = self->held();
  while (count != 0 && self->held_list()[count - 1].chain != chain) --count;
  return count;
}

uint64_t Tracker::guards_hash(const ThreadContext* self, uint32_t count, ObjectId without) const {
  uint64_t hash = 0;
  for (uint32_t i = count; i-- != 0;) {
    const Held& held = self->held_list()[i];
    if (held.object != without) hash += guard_part(held);
  }
  return hash;
}

void Tracker::fill_guards(const ThreadContext* self, uint32_t count, ObjectId without, Witness& witness) const {
  for (uint32_t i = count; i-- != 0;) {
    const Held& held = self->held_list()[i];
    if (held.object == without || !is_guard(held)) continue;
    if (witness.guard_count == kGuards) {
      witness.flags |= Witness::kGuardsLost;
      return;
    }
    witness.guards[witness.guard_count++] = held.object;
  }
}

void Tracker::depend(ClassId from, ClassId to, const Witness& witness) {
  mark_recorded(arena_.at<Object>(witness.from_object));
  mark_recorded(arena_.at<Object>(witness.to_object));
  for (unsigned i = 0; i < witness.guard_count; ++i) mark_recorded(arena_.at<Object>(witness.guards[i]));
  publish(graph_.depend(from, to, witness));
}

void Tracker::past(ThreadContext* self, const WaitOf& wait) {
  remember_wait(self, wait.cls, wait.object, wait.event, wait.stack.site(), now(),
                wait.flags | (wait.timed ? uint32_t{Witness::kTimed} : 0) | (wait.sched_sleep ? kSchedulerSleep : 0),
                wait.stack.known());
}

void Tracker::add_wait(ThreadContext* self, const WaitOf& wait) {
  const Object& target = arena_.at<Object>(wait.object);
  if (wait.cls == ClassId::kNone || (wait.timed && !settings_.timeouts)) return;
  if ((target.flags.load(std::memory_order_relaxed) & Object::kNoCheck) != 0) return;
  const uint32_t flags = wait.flags | (wait.timed ? uint32_t{Witness::kTimed} : 0);
  if (self->irq_depth != 0) {
    const uint8_t irq = self->irq[self->irq_depth - 1];
    Witness witness = witness_of(self, ObjectId::kNone, Event::kWrite, wait.object, wait.event, flags | Witness::kIrq);
    witness.wait = wait.stack.id(arena_);
    witness.irq = irq;
    witness.clock = order_.snapshot(*self);
    graph_.irq_wait(wait.cls, irq, witness);
  }
  const uint32_t count = self->held();
  const uint32_t first = self->first_held();
  const bool strict = (target.class_flags & Class::kStrictNesting) != 0;
  const uint64_t guards = guards_hash(self, count, ObjectId::kNone);
  for (uint32_t i = count; i-- > first;) {
    const Held& held = self->held_list()[i];
    if ((held.flags & Held::kIgnored) != 0 || held.cls == ClassId::kNone) continue;
    if (held.cls == wait.cls && held.nesting != wait.nesting) continue;
    if (held.object == wait.object && !strict) continue;
    if (i + 1 == count && held.cls == wait.cls && graph_.compare_allows(held.object, wait.object)) continue;
    uint32_t kinds = flags | Witness::kOwned | ((held.flags & Held::kTentative) != 0 ? uint32_t{Witness::kTentative} : 0);
    if (target.kind == Kind::kThread && was_taken_before(self, held)) kinds |= Witness::kAgain;
    Witness witness = witness_of(self, held.object, held.event, wait.object, wait.event, kinds);
    witness.hash = Graph::hash_of(witness, guards - guard_part(held));
    if (!graph_.wants(held.cls, wait.cls, witness)) continue;
    witness.start = stack_of(held);
    witness.wait = wait.stack.id(arena_);
    witness.clock = order_.snapshot(*self);
    fill_guards(self, self->held(), held.object, witness);
    depend(held.cls, wait.cls, witness);
  }
  thread_end::wait_is_owed(*this, self, wait);
  if (wait.in_ring) past(self, wait);
}

void Tracker::wait(ThreadContext* self, ObjectId object, EventMask events, Site site, const WaitTraits& traits) {
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) return;
  Inside inside;
  drop_given_up(self);
  Object& target = arena_.at<Object>(object);
  // A thread's end is asked for by who joins it.
  if (target.kind == Kind::kThread) request(self, target.wgen);
  begin_waiting(self, object, ClassId::kNone, events, site, traits.timed);
  LazyStack stack(site, __builtin_return_address(0));
  for (unsigned i = 0; i < kEvents; ++i) {
    const auto event = static_cast<Event>(i);
    if ((events & bit(event)) == 0) continue;
    const ClassId cls = class_of(object, event);
    add_wait(self, {.cls = cls, .object = object, .event = event, .stack = stack, .timed = traits.timed,
                    .nesting = traits.nesting, .flags = traits.flags, .sched_sleep = traits.sched_sleep});
    know_site(cls, site, stack);
  }
}

void Tracker::wait_over(ThreadContext* self) {
  if (self != nullptr) end_waiting(self);
}

void Tracker::wait_for_class(ThreadContext* self, ClassId cls, ObjectId object, Site site, StackId known, const WaitTraits& traits) {
  if (self == nullptr || self->task_off != 0) return;
  Inside inside;
  drop_given_up(self);
  LazyStack stack = known != StackId::kNone ? LazyStack(site, known) : LazyStack(site, __builtin_return_address(0));
  add_wait(self, {.cls = cls, .object = object, .stack = stack, .timed = traits.timed, .nesting = traits.nesting,
                  .flags = traits.flags, .sched_sleep = traits.sched_sleep});
}

bool Tracker::push(ThreadContext* self, ObjectId object, Event event, ClassId cls, Site site, uint8_t held_flags,
                   uint8_t nesting, uint32_t wgen) {
  const uint32_t count = self->held();
  if (count == kMaxHeld) {
    arena_.count(Counter::kHeldOverflow);
    ++self->missed;
    return false;
  }
  const Object& target = arena_.at<Object>(object);
  ThreadState& state = *self->state;
  // Who was interrupted before this one has written its own entry there (dept/known_locks.h).
  state.waiting_sequence.store(state.waiting_sequence.load(std::memory_order_relaxed) + 2, std::memory_order_relaxed);
  ++self->not_locks;
  Held& held = self->held_list()[count];
  held.object = object;
  held.cls = cls;
  held.site = site.where;
  held.line = site.line;
  held.wgen = wgen;
  held.stack = StackId::kNone;
  held.event = event;
  held.nesting = nesting;
  held.flags = held_flags;
  held.depth = 1;
  if (settings_.full_stacks) held.stack = LazyStack(site, __builtin_return_address(0)).id(arena_);
  held.chain =
      chain_after(self->chain(), seed_of(object, target.generation.load(std::memory_order_relaxed)), event, nesting, held_flags);
  if (count < kHeldHere) self->here(count) = here_of(held, target.address);
  *self->top = count + 1;
  state.set_held(count + 1);
  if (self->enabled != 0) irq_contexts(self, held, self->enabled);
  return true;
}

void Tracker::enter(ThreadContext* self, ObjectId object, Event event, Site site, uint8_t held_flags, uint8_t nesting) {
  if (self == nullptr) return;
  Inside inside;
  if (object == ObjectId::kNone || self->task_off != 0) {
    ++self->missed;
    return;
  }
  const ClassId cls = class_of(object, event);
  if ((arena_.at<Object>(object).flags.load(std::memory_order_relaxed) & Object::kNoCheck) != 0) held_flags |= Held::kIgnored;
  LazyStack stack(site, __builtin_return_address(0));
  know_site(cls, site, stack);
  push(self, object, event, cls, site, held_flags, nesting, now());
}

void Tracker::drop(ThreadContext* self, uint32_t index) {
  Held* list = self->held_list();
  const uint32_t count = self->held();
  uint64_t chain = self->chain_of(index);
  for (uint32_t i = index; i + 1 < count; ++i) {
    Held& held = list[i] = list[i + 1];
    const Object& object = arena_.at<Object>(held.object);
    const uint32_t generation = object.generation.load(std::memory_order_relaxed);
    chain = held.chain = chain_after(chain, seed_of(held.object, generation), held.event, held.nesting, held.flags);
    if (i >= kHeldHere) continue;
    const uint64_t slowly = i + 1 < kHeldHere ? self->here(i + 1).place & HeldHere::kSlowly : 0;
    self->here(i) = here_of(held, object.address);
    self->here(i).place |= slowly;
  }
  for (unsigned i = 0; i < self->irq_depth; ++i) {
    if (self->irq_held[i] > index) --self->irq_held[i];
  }
  *self->top = count - 1;
  self->state->set_held(count - 1);
}

Held* Tracker::find_held(const ThreadContext* self, ObjectId object, EventMask events) const {
  for (uint32_t i = self->held(); i-- != 0;) {
    Held& held = self->held_list()[i];
    if (held.object == object && (events & bit(held.event)) != 0) return &held;
  }
  return nullptr;
}

bool Tracker::leave(ThreadContext* self, ObjectId object, EventMask events) {
  if (self == nullptr) return false;
  Inside inside;
  drop_given_up(self);
  if (Held* held = find_held(self, object, events)) {
    drop(self, static_cast<uint32_t>(held - self->held_list()));
    return true;
  }
  if (self->missed == 0) return false;
  --self->missed;
  return true;
}

bool Tracker::holds(const ThreadContext* self, ObjectId object, EventMask events) const {
  return self != nullptr && find_held(self, object, events) != nullptr;
}

// What others have unlocked in this thread's place is no longer its own.
void Tracker::drop_given_up(ThreadContext* self) {
  if (self->state->given_up.load(std::memory_order_relaxed) == 0) [[likely]] return;
  uint64_t objects = self->state->given_up.exchange(0, std::memory_order_acq_rel);
  for (; objects != 0; objects >>= 32) {
    const auto object = ObjectId(static_cast<uint32_t>(objects));
    if (object == ObjectId::kNone) continue;
    if (Held* held = find_held(self, object, 7)) drop(self, static_cast<uint32_t>(held - self->held_list()));
  }
}

uint32_t Tracker::request(ThreadContext* self, std::atomic<uint32_t>& wgen) {
  if (self == nullptr) return 0;
  // Waits from now on read a later `now` than this. 0 is nobody.
  uint32_t stamp = 0;
  while (stamp == 0) stamp = arena_.header().now.fetch_add(1, std::memory_order_acq_rel);
  wgen.store(stamp, std::memory_order_release);
  return stamp;
}

void Tracker::event(ThreadContext* self, ClassId cls, ObjectId object, uint32_t wgen, Site site, StackId requested_at,
                    uint32_t flags) {
  if (self == nullptr || self->task_off != 0) return;
  Inside inside;
  arena_.count(Counter::kEventsSeen);
  if (wgen == 0) {
    arena_.count(Counter::kEventsNobodyAsked);
    return;
  }
  // An event whose context is open explicitly has made its edges already.
  for (uint32_t i = self->held(); i-- != 0;) {
    if (self->held_list()[i].object == object && self->held_list()[i].cls == cls) return;
  }
  LazyStack stack(site, __builtin_return_address(0));
  depend_in_window(self, {.cls = cls, .object = object, .wgen = wgen, .stack = stack, .requested_at = requested_at, .flags = flags});
}

void Tracker::depend_in_window(ThreadContext* self, const WindowOf& window) {
  each_in_window(self, window, [&](ClassId to, const Witness& witness, uint64_t key) {
    depend(window.cls, to, witness);
    remember(self, key);
  });
}

// The interruptions that may come while this is open, and have not been seen with its class.
void Tracker::irq_contexts(ThreadContext* self, const Held& held, IrqMask enabled) {
  if (held.cls == ClassId::kNone || (held.flags & Held::kIgnored) != 0) return;
  const IrqMask seen = arena_.at<Class>(held.cls).enabled_irqs.load(std::memory_order_relaxed);
  if ((enabled & ~seen) == 0) return;
  Witness witness = witness_of(self, held.object, held.event, ObjectId::kNone, Event::kWrite, Witness::kOwned | Witness::kIrq);
  witness.start = stack_of(held);
  witness.clock = order_.snapshot(*self);
  fill_guards(self, self->held(), held.object, witness);
  mark_recorded(arena_.at<Object>(held.object));
  graph_.irq_enabled(held.cls, enabled, witness);
}

// --- contexts and interruptions

void Tracker::new_context(ThreadContext* self) {
  if (self == nullptr) return;
  // Never that of an interruption or of the past.
  if (self->irq_depth == 0) self->context_id = ++self->process_context * 2 + 1;
  else self->context_id += 1u << 16;
  ++self->stamp;
  self->context_start = self->ring_next;
}

void Tracker::irq_enter(ThreadContext* self, uint8_t kind) {
  if (self == nullptr || self->irq_depth == kIrqDepth) return;
  Inside inside;
  const uint8_t depth = self->irq_depth;
  self->irq[depth] = kind;
  self->irq_held[depth] = self->held();
  self->irq_context[depth] = self->context_id;
  self->irq_start[depth] = self->context_start;
  self->irq_enabled[depth] = self->enabled;
  self->enabled &= ~(IrqMask{1} << kind);  // a handler is not interrupted by its own kind
  self->irq_depth = static_cast<uint8_t>(depth + 1);
  self->context_id = (++self->process_context) * 2;  // even: an interruption's
  ++self->stamp;
  self->context_start = self->ring_next;
  refresh_salt(self);
}

void Tracker::irq_exit(ThreadContext* self) {
  if (self == nullptr || self->irq_depth == 0) return;
  Inside inside;
  const uint8_t depth = --self->irq_depth;
  self->context_id = self->irq_context[depth];
  ++self->stamp;
  self->context_start = self->irq_start[depth];
  self->enabled = self->irq_enabled[depth];
  refresh_salt(self);
}

void Tracker::irqs_enabled(ThreadContext* self, IrqMask enabled) {
  if (self == nullptr) return;
  Inside inside;
  const IrqMask fresh = enabled & ~self->enabled;
  self->enabled = enabled;
  for (unsigned i = 0; i < 64; ++i) {
    if ((fresh >> i & 1) != 0) self->enabled_wgen[i] = now() + 1;
  }
  if (fresh != 0) {
    for (uint32_t i = self->held(); i-- != 0;) irq_contexts(self, self->held_list()[i], fresh);
  }
  refresh_salt(self);
}

void Tracker::in_scheduler(ThreadContext* self, bool inside) {
  if (self == nullptr) return;
  if (inside) ++self->scheduler;
  else if (self->scheduler != 0) --self->scheduler;
}

}  // namespace causeway::dept
