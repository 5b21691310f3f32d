#include "dept/locks.h"

#include <bit>

#include "dept/dependencies.h"
#include "dept/known_locks.h"
#include "dept/waiters.h"

namespace causeway::dept::locks {
namespace {

constexpr EventMask kBoth = bit(Event::kWrite) | bit(Event::kRead);
// Failed trylocks in a row that are a wait; and if the thread did nothing else meanwhile: gave back nothing that it holds, to take it again.
constexpr uint32_t kSpins = 16, kSpinsAlone = 4;

Event event_of(Mode mode, uint32_t object_flags) {
  return mode == Mode::kRead && (object_flags & Object::kReaderLock) != 0 ? Event::kRead : Event::kWrite;
}

// What taking it like this waits for.
EventMask waits_for(Mode mode, uint32_t object_flags, bool queued) {
  if ((object_flags & Object::kReaderLock) == 0) return bit(Event::kWrite);
  if (mode == Mode::kWrite || queued || (object_flags & Object::kQueued) != 0) return kBoth;
  return bit(Event::kWrite);
}

uint64_t bits_of(const How& how) { return std::bit_cast<uint64_t>(how); }
static_assert(sizeof(How) == 8);

uint64_t chain_key(const ThreadContext* self, uint64_t seed, Mode mode, Site site, const How& how) {
  const uint64_t what = seed + bits_of(how) * 4 + static_cast<uint64_t>(mode);
  return blend(self->chain() ^ self->salt ^ what, site.where + (uint64_t{site.line} << 40));
}

// Of an object that the cache does not name.
uint64_t seed_of(Tracker& tracker, ObjectId object) {
  return dept::seed_of(object, tracker.arena().at<Object>(object).generation.load(std::memory_order_relaxed));
}

// The same lock again: whether that blocks for ever is known before it does. True: nothing is waited for.
bool take_again(Tracker& tracker, ThreadContext* self, ObjectId object, Mode mode, LazyStack& stack, const How& how) {
  const Object& target = tracker.arena().at<Object>(object);
  const Held* held = tracker.find_held(self, object, kBoth | bit(Event::kThird));
  if (held == nullptr) return false;
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  // Its owner may have given it up meanwhile; a tentative one may be no lock at all; the kernel's rules are about classes.
  if ((held->flags & (Held::kTentative | Held::kIgnored)) != 0 || (target.class_flags & Class::kStrictNesting) != 0) return false;
  if ((flags & Object::kRecursive) != 0) return true;
  if ((how.flags & Witness::kTentative) != 0 || how.nest_lock) return false;
  const StackId other = tracker.stack_of(*held);
  const bool both_read = mode == Mode::kRead && held->event == Event::kRead;
  if (both_read) {
    if ((flags & Object::kQueued) == 0 && !tracker.settings().queued_readers) return true;
    // A writer that comes between the two makes it a deadlock.
    tracker.report(Problem::kRelock, Misuse::kNone, Level::kLikely, self, object, stack, other);
  } else if ((flags & Object::kErrorCheck) != 0) {
    tracker.report(Problem::kMisuse, Misuse::kErrorIgnored, Level::kInfo, self, object, stack, other);
  } else {
    tracker.report(Problem::kRelock, Misuse::kNone, how.timed ? Level::kInfo : Level::kCertain, self, object, stack, other);
  }
  return true;
}

[[gnu::noinline]] void acquiring_slow(Tracker& tracker, ThreadContext* self, ObjectId object, Mode mode, Site site,
                                      const How& how, const void* entry) {
  LazyStack stack(site, entry);
  tracker.drop_given_up(self);
  tracker.refresh_salt(self);
  tracker.tell_locks(self);
  const uint64_t key = chain_key(self, seed_of(tracker, object), mode, site, how);
  const Object& target = tracker.arena().at<Object>(object);
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  if ((flags & Object::kNoCheck) != 0) return;
  if ((flags & Object::kOrphan) != 0) {
    tracker.report(Problem::kOrphan, Misuse::kNone, how.timed ? Level::kInfo : Level::kCertain, self, object, stack, target.birth);
    return;
  }
  const Event held_as = event_of(mode, flags);
  const ClassId cls = tracker.class_of(object, held_as);
  tracker.know_site(cls, site, stack);
  if (take_again(tracker, self, object, mode, stack, how) || how.nest_lock) return;
  const EventMask events = waits_for(mode, flags, tracker.settings().queued_readers);
  for (unsigned i = 0; i < kEvents; ++i) {
    const auto event = static_cast<Event>(i);
    if ((events & bit(event)) == 0) continue;
    const ClassId waited = tracker.class_of(object, event);
    if (waited != cls) tracker.know_site(waited, site, stack);
    tracker.add_wait(self, {.cls = waited, .object = object, .event = event, .stack = stack, .timed = how.timed,
                            .nesting = how.nesting, .flags = how.flags});
  }
  if ((flags & Object::kHandedOver) == 0) tracker.remember(self, key);
}

// The wait is known, and makes no edge: it only goes into the ring. Where, of writers and of readers, if there are two.
struct InRing {
  uint32_t first, second;
};
InRing remember_known(Tracker& tracker, ThreadContext* self, const Object& target, ObjectId object, Mode mode, Site site, uint32_t kinds) {
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  const uint32_t now = tracker.now();
  const auto remember = [&](Event event) {
    const auto cls = ClassId(target.classes[static_cast<unsigned>(event)].load(std::memory_order_relaxed));
    return remember_wait(self, cls, object, event, site, now, kinds, StackId::kNone);
  };
  const uint32_t first = remember(Event::kWrite);
  if ((waits_for(mode, flags, tracker.settings().queued_readers) & bit(Event::kRead)) == 0) return {first, first};
  const uint32_t second = remember(Event::kRead);
  return {first, second};
}

uint32_t tag_of(ThreadContext* self, PastWait& past) {
  if (past.tag == 0) {
    if (++self->ring_tags == KnownWait::kNoTag) self->ring_tags = 1;
    past.tag = self->ring_tags;
  }
  return past.tag;
}

// Once for each context, and whenever something else has taken its place in the ring.
void remember_anew(ThreadContext* self, const KnownLock& known, KnownWait& wait) {
  Tracker& tracker = Tracker::get();
  const ObjectId object = known.held.object;
  const Mode mode = (known.held.flags & Held::kShared) != 0 ? Mode::kRead : Mode::kWrite;
  const uint32_t kinds = (known.held.flags & Held::kTentative) != 0 ? uint32_t{Witness::kTentative} : 0;
  const InRing ring = remember_known(tracker, self, tracker.arena().at<Object>(object), object, mode, Site::at_pc(known.held.site), kinds);
  const uint32_t places[] = {ring.first, ring.second};
  for (unsigned i = 0; i < 2; ++i) {
    wait.ring[i] = static_cast<uint8_t>(places[i] % kRing);
    wait.tags[i] = tag_of(self, self->ring[wait.ring[i]]);
  }
}

// What was pushed just now, in the way that is to be the short one from now on.
void learn(Tracker& tracker, ThreadContext* self, const Object& target, Site site, const How& how) {
  const uint32_t position = self->held() - 1;
  if (position >= kHeldHere || site.line != 0 || self->known_salt == 0 || self->generation != tracker.graph().generation()) return;
  if (how.timed || how.nest_lock || how.nesting != 0 || (how.flags & ~uint32_t{Witness::kTentative}) != 0) return;
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  if ((flags & (Object::kHandedOver | Object::kNoCheck | Object::kOrphan | Object::kDead)) != 0) return;
  const Held& held = self->held_list()[position];
  const uint64_t place = self->here(position).place | (how.is_try ? KnownLock::kByTry : 0);
  const uint64_t chain_below = self->chain_of(position);
  const unsigned index = self->known_index(place, site.where, chain_below);
  self->known_waits[index] = {.salt = self->known_salt,
                              .tags = {KnownWait::kNoTag, KnownWait::kNoTag},
                              .ring = {}};
  self->known[index] = {.place = place, .chain_below = chain_below, .held = held,
                        .generation = target.generation.load(std::memory_order_relaxed), .stamp = 0};
}

void mark_depth(ThreadContext* self, const Held& held) {
  const auto position = static_cast<uint32_t>(&held - self->held_list());
  if (position >= kHeldHere) return;
  HeldHere& here = self->here(position);
  here.place = held.depth > 1 ? here.place | HeldHere::kDeep : here.place & ~HeldHere::kDeep;
}

void acquiring_inside(Tracker& tracker, ThreadContext* self, ObjectId object, Mode mode, Site site, const How& how,
                      const void* entry) {
  if (how.is_try) return;
  begin_waiting(self, object, ClassId::kNone, 0, site, how.timed);
  const uint64_t key = chain_key(self, seed_of(tracker, object), mode, site, how);
  if (!tracker.knows(self, key) || self->state->given_up.load(std::memory_order_relaxed) != 0) {
    acquiring_slow(tracker, self, object, mode, site, how, entry);
  } else if (!how.timed || tracker.settings().timeouts) {
    remember_known(tracker, self, tracker.arena().at<Object>(object), object, mode, site,
                   how.flags | (how.timed ? uint32_t{Witness::kTimed} : 0));
  }
}

// Somebody else has locked it: where, and since when. Read while it may change.
struct Owner {
  ThreadState* state = nullptr;
  Held held{};
};
Owner find_owner(Tracker& tracker, ObjectId object) {
  Arena& arena = tracker.arena();
  for (uint32_t i = 1, used = arena.used<ThreadState>(); i < used; ++i) {
    ThreadState& state = arena.at<ThreadState>(StateId(i));
    if (state.thread.load(std::memory_order_acquire) == 0) continue;
    const uint32_t count = state.held();
    for (uint32_t j = count < kMaxHeld ? count : kMaxHeld; j-- != 0;) {
      if (state.held_list[j].object == object) return {&state, state.held_list[j]};
    }
  }
  return {};
}

void give_up(ThreadState& state, ObjectId object) {
  uint64_t there = state.given_up.load(std::memory_order_relaxed);
  uint64_t wanted;
  do {
    if (there >> 32 != 0) return;
    wanted = there << 32 | index_of(object);
  } while (!state.given_up.compare_exchange_weak(there, wanted, std::memory_order_acq_rel));
  Tracker::get().arena().header().now.fetch_add(1, std::memory_order_release);
}

[[gnu::noinline]] void release_of_other(Tracker& tracker, ThreadContext* self, ObjectId object, Site site, const void* entry) {
  if (self->missed != 0) {
    --self->missed;
    return;
  }
  Object& target = tracker.arena().at<Object>(object);
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  if ((flags & (Object::kNoCheck | Object::kOrphan)) != 0) {
    target.flags.fetch_and(~uint32_t{Object::kOrphan}, std::memory_order_relaxed);
    return;
  }
  LazyStack stack(site, entry);
  const auto unlocks = [&](Event event, uint32_t wgen, StackId requested_at) {
    tracker.depend_in_window(self, {.cls = tracker.class_of(object, event), .object = object, .event = event, .wgen = wgen,
                                    .stack = stack, .requested_at = requested_at});
  };
  const Owner owner = find_owner(tracker, object);
  if (owner.state == nullptr || owner.state == self->state) {
    // Its owner has ended, and left it locked.
    if (const uint32_t wgen = (flags & Object::kHandedOver) != 0 ? target.wgen.exchange(0, std::memory_order_relaxed) : 0) {
      unlocks(Event::kWrite, wgen, StackId::kNone);
      return;
    }
    if (is_lock(target.kind)) tracker.report(Problem::kMisuse, Misuse::kUnlockNotHeld, Level::kInfo, self, object, stack, StackId::kNone);
    return;
  }
  const StackId requested_at = tracker.stack_of(owner.held);
  if ((flags & Object::kHandedOver) == 0) {
    target.flags.fetch_or(Object::kHandedOver, std::memory_order_relaxed);
    tracker.graph().forget_known();
    tracker.report(Problem::kMisuse, Misuse::kUnlockByOther, Level::kInfo, self, object, stack, requested_at);
  }
  unlocks(owner.held.event, owner.held.wgen, requested_at);
  give_up(*owner.state, object);
}

}  // namespace

void acquiring(ObjectId object, Mode mode, Site site, const How& how) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) return;
  Inside inside;
  acquiring_inside(Tracker::get(), self, object, mode, site, how, __builtin_return_address(0));
}

ObjectId acquiring_at(const void* address, const ObjectTraits& traits, Mode mode, Site site, const How& how) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return Tracker::is_on() ? Tracker::get().find_object(address) : ObjectId::kNone;
  Inside inside;
  Tracker& tracker = Tracker::get();
  const ObjectId object =
      tracker.object_at(self, address, traits, site, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  if (object != ObjectId::kNone && self->task_off == 0) acquiring_inside(tracker, self, object, mode, site, how, __builtin_return_address(0));
  return object;
}

bool renew_known(uint64_t place, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || !is_open()) return false;
  Inside inside;
  const uint64_t chain = self->chain();
  const unsigned index = self->known_index(place, site.where, chain);
  const KnownLock& known = self->known[index];
  KnownWait& wait = self->known_waits[index];
  if (known.place != place || known.held.site != site.where || known.chain_below != chain || wait.salt != self->known_salt) return false;
  Tracker& tracker = Tracker::get();
  const uint32_t now = tracker.now();
  // Before what makes it another time is looked at.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (tracker.arena().at<Object>(known.held.object).generation.load(std::memory_order_relaxed) != known.generation ||
      self->generation != tracker.graph().generation() || self->state->given_up.load(std::memory_order_relaxed) != 0)
    return false;
  if ((place & KnownLock::kByTry) == 0) {
    PastWait& first = self->ring[wait.ring[0]];
    PastWait& second = self->ring[wait.ring[1]];
    const auto is_there = [&](const PastWait& past, uint32_t tag) { return past.tag == tag && past.context == self->context_id; };
    if (is_there(first, wait.tags[0]) && is_there(second, wait.tags[1])) {
      first.wgen = second.wgen = now;
      first.epoch = second.epoch = self->epoch;
    } else {
      remember_anew(self, known, wait);
    }
  }
  KnownLock& newest = self->known_now_of(place, site.where);
  newest = known;
  newest.held.wgen = now;
  newest.stamp = self->stamp;
  return true;
}

void acquired(ObjectId object, Mode mode, Site site, const How& how) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) {
    if (!Tracker::is_on()) return;
    if (self == nullptr) self = ThreadContext::current_inside();
    if (self != nullptr) ++self->missed;
    return;
  }
  Inside inside;
  Tracker& tracker = Tracker::get();
  end_waiting(self);
  --self->not_locks;
  Object& target = tracker.arena().at<Object>(object);
  const uint32_t flags = target.flags.load(std::memory_order_relaxed);
  const Event event = event_of(mode, flags);
  uint8_t held_flags = (mode == Mode::kRead ? Held::kShared : 0) | (how.is_try ? Held::kTry : 0) | (how.timed ? Held::kTimed : 0);
  if ((flags & (Object::kRecursive | Object::kReaderLock)) != 0) {
    Held* held = tracker.find_held(self, object, bit(event));
    if (held != nullptr && held->depth != UINT8_MAX) {
      ++held->depth;
      mark_depth(self, *held);
      return;
    }
  }
  if ((flags & Object::kNoCheck) != 0) held_flags |= Held::kIgnored;
  // Its owner is gone with another process; whoever got it is the owner now.
  if ((flags & Object::kOrphan) != 0) target.flags.fetch_and(~uint32_t{Object::kOrphan}, std::memory_order_relaxed);
  // Whoever unlocks it may be another thread: from now on its event is wanted.
  const uint32_t wgen = (flags & Object::kHandedOver) != 0 ? tracker.request(self, target.wgen) : tracker.now();
  if ((how.flags & Witness::kTentative) != 0) held_flags |= Held::kTentative;
  if (how.nest_lock) held_flags |= Held::kIgnored;
  const ClassId cls = tracker.class_of(object, event);
  if (how.is_try) {
    self->failed_tries = 0;
    LazyStack stack(site, __builtin_return_address(0));
    tracker.know_site(cls, site, stack);
  }
  const bool is_known = how.is_try || tracker.knows(self, chain_key(self, seed_of(tracker, object), mode, site, how));
  if (tracker.push(self, object, event, cls, site, held_flags, how.nesting, wgen) && is_known) learn(tracker, self, target, site, how);
}

void not_acquired(ObjectId) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return;
  end_waiting(self);
}

static void releasing_inside(Tracker& tracker, ThreadContext* self, ObjectId object, Site site, const void* entry) {
  if (self->state->given_up.load(std::memory_order_relaxed) != 0) [[unlikely]] tracker.drop_given_up(self);
  if (self->pending != 0) [[unlikely]] tracker.waiters().settle(tracker, self, object);
  const uint32_t count = self->held();
  Held* list = self->held_list();
  Held* held = count != 0 && list[count - 1].object == object ? &list[count - 1]
                                                             : tracker.find_held(self, object, kBoth | bit(Event::kThird));
  if (held == nullptr) [[unlikely]] {
    release_of_other(tracker, self, object, site, entry);
    return;
  }
  if (held->depth > 1) {
    --held->depth;
    mark_depth(self, *held);
    return;
  }
  tracker.drop(self, static_cast<uint32_t>(held - list));
}

// A nested call: what the interrupted tracker holds may be half written. The owner drops it at its next call.
static void released_inside(ObjectId object) {
  ThreadContext* self = ThreadContext::current_inside();
  if (self == nullptr || !Tracker::is_on()) return;
  if (self->missed != 0) --self->missed;
  else if (object != ObjectId::kNone) give_up(*self->state, object);
}

void releasing(ObjectId object, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone) [[unlikely]] return released_inside(object);
  Inside inside;
  releasing_inside(Tracker::get(), self, object, site, __builtin_return_address(0));
}

void releasing_at(const void* address, const ObjectTraits& traits, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return released_inside(Tracker::is_on() ? Tracker::get().find_object(address) : ObjectId::kNone);
  Inside inside;
  Tracker& tracker = Tracker::get();
  const ObjectId object =
      tracker.object_at(self, address, traits, site, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  if (object != ObjectId::kNone) releasing_inside(tracker, self, object, site, __builtin_return_address(0));
  else if (self->missed != 0) --self->missed;
}

void downgraded(ObjectId object, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone) return;
  Inside inside;
  Tracker& tracker = Tracker::get();
  tracker.drop_given_up(self);
  Held* held = tracker.find_held(self, object, bit(Event::kWrite));
  if (held == nullptr) return;
  const uint8_t nesting = held->nesting;
  const uint8_t flags = held->flags | Held::kShared;
  tracker.drop(self, static_cast<uint32_t>(held - self->held_list()));
  const ClassId cls = tracker.class_of(object, Event::kRead);
  LazyStack stack(site, __builtin_return_address(0));
  tracker.know_site(cls, site, stack);
  tracker.push(self, object, Event::kRead, cls, site, flags, nesting, tracker.now());
}

void try_failed(ObjectId object, Mode mode, Site site) {
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr || object == ObjectId::kNone || self->task_off != 0) return;
  Inside inside;
  Tracker& tracker = Tracker::get();
  tracker.drop_given_up(self);
  const uint64_t where = mix(mix(index_of(object), site.where), site.line) + self->chain();
  const uint32_t waits = self->state->waiting_sequence.load(std::memory_order_relaxed);
  if (self->failed_try != where || self->failed_tries == 0) {
    self->failed_tries = 0;
    self->failed_since = waits;
  }
  self->failed_try = where;
  const uint32_t tries = ++self->failed_tries;
  if (tries != kSpins && (tries != kSpinsAlone || self->failed_since != waits)) return;
  if (self->held() == 0) return;
  acquiring_slow(tracker, self, object, mode, site, {.flags = Witness::kSpinTry}, __builtin_return_address(0));
}

}  // namespace causeway::dept::locks
