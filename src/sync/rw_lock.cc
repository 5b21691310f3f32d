#include "sync/rw_lock.h"

#include "sync/futex.h"

// The lock word counts holders in 30 bits and says in two more whether readers or writers sleep.
// Readers sleep on the lock word itself. Writers sleep on a second word that only wakers advance,
// since the lock word changes at every reader. Whoever sets the word to free while a bit says that
// somebody sleeps hands the lock on: to one writer, or when none is really asleep to all readers.

namespace causeway::sync {
namespace {

constexpr int kSpins = 100;

}  // namespace

RwLock::~RwLock() {
  writer_.check_free("rwlock", name_, SourceLocation::current());
  if (detail::kChecks && !is_free(state_.load(std::memory_order_relaxed)))
    detail::die("rwlock", name_, "destroyed while readers hold it", 0, SourceLocation::current());
  track::destroyed(object());
}

void RwLock::lock(SourceLocation where) {
  writer_.check_not_me("rwlock", name_, where);
  track::acquiring(object(), track::Mode::kExclusive, where);
  uint32_t free = 0;
  if (!state_.compare_exchange_strong(free, kWriter, std::memory_order_acquire, std::memory_order_relaxed))
    lock_slow();
  writer_.set();
  track::acquired(object(), track::Mode::kExclusive, track::Attempt::kBlocking, where);
}

bool RwLock::try_lock(SourceLocation where) {
  uint32_t state = state_.load(std::memory_order_relaxed);
  do {
    if (!is_free(state)) return false;
  } while (!state_.compare_exchange_weak(state, state | kWriter, std::memory_order_acquire,
                                         std::memory_order_relaxed));
  writer_.set();
  track::acquired(object(), track::Mode::kExclusive, track::Attempt::kTry, where);
  return true;
}

void RwLock::unlock(SourceLocation where) {
  writer_.check_me("rwlock", name_, "write-unlocked without being held", where);
  track::releasing(object(), track::Mode::kExclusive, where);
  writer_.clear();
  uint32_t state = state_.fetch_sub(kWriter, std::memory_order_release) - kWriter;
  if (state != 0) hand_on(state);
}

void RwLock::lock_shared(SourceLocation where) {
  writer_.check_not_me("rwlock", name_, where);
  track::acquiring(object(), track::Mode::kShared, where);
  uint32_t state = state_.load(std::memory_order_relaxed);
  if (!can_read(state) || !state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                                        std::memory_order_relaxed)) {
    lock_shared_slow();
  }
  track::acquired(object(), track::Mode::kShared, track::Attempt::kBlocking, where);
}

bool RwLock::try_lock_shared(SourceLocation where) {
  uint32_t state = state_.load(std::memory_order_relaxed);
  do {
    if (!can_read(state)) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                         std::memory_order_relaxed));
  track::acquired(object(), track::Mode::kShared, track::Attempt::kTry, where);
  return true;
}

void RwLock::unlock_shared(SourceLocation where) {
  if (detail::kChecks) {
    uint32_t holders = state_.load(std::memory_order_relaxed) & kHolders;
    if (holders == 0 || holders == kWriter)
      detail::die("rwlock", name_, "read-unlocked while no reader holds it", 0, where);
  }
  track::releasing(object(), track::Mode::kShared, where);
  uint32_t state = state_.fetch_sub(1, std::memory_order_release) - 1;
  // Readers sleep behind a reader only when a writer does.
  if (is_free(state) && (state & kWritersWait) != 0) hand_on(state);
}

void RwLock::assert_held(SourceLocation where) const {
  writer_.check_me("rwlock", name_, "not write-held where it must be", where);
}

void RwLock::assert_held_shared(SourceLocation where) const {
  if (detail::kChecks && is_free(state_.load(std::memory_order_relaxed)))
    detail::die("rwlock", name_, "not held where it must be", 0, where);
}

uint32_t RwLock::spin_while_written() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  for (int spin = 0; spin < kSpins && state == kWriter; ++spin) {
    cpu_pause();
    state = state_.load(std::memory_order_relaxed);
  }
  return state;
}

uint32_t RwLock::spin_while_held() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  for (int spin = 0; spin < kSpins && !is_free(state) && (state & kWritersWait) == 0; ++spin) {
    cpu_pause();
    state = state_.load(std::memory_order_relaxed);
  }
  return state;
}

void RwLock::lock_shared_slow() {
  uint32_t state = spin_while_written();
  while (true) {
    if (can_read(state)) {
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed))
        return;
      continue;
    }
    if ((state & kReadersWait) == 0) {
      if (!state_.compare_exchange_weak(state, state | kReadersWait, std::memory_order_relaxed,
                                        std::memory_order_relaxed)) {
        continue;
      }
      state |= kReadersWait;
    }
    futex_wait(&state_, state);
    state = spin_while_written();
  }
}

void RwLock::lock_slow() {
  uint32_t state = spin_while_held();
  // Once we have slept, other writers may sleep too and only our unlock can wake them.
  uint32_t others = 0;
  while (true) {
    if (is_free(state)) {
      if (state_.compare_exchange_weak(state, state | kWriter | others, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    if ((state & kWritersWait) == 0 &&
        !state_.compare_exchange_weak(state, state | kWritersWait, std::memory_order_relaxed,
                                      std::memory_order_relaxed)) {
      continue;
    }
    others = kWritersWait;
    // The signal is read before the state is read again: a wake in between changes the signal.
    uint32_t signal = writer_signal_.load(std::memory_order_acquire);
    state = state_.load(std::memory_order_relaxed);
    if (is_free(state) || (state & kWritersWait) == 0) continue;
    futex_wait(&writer_signal_, signal);
    state = spin_while_held();
  }
}

// The lock has just become free with waiting bits set. Fails harmlessly when somebody else takes the
// lock meanwhile: that holder's unlock sees the bits again.
void RwLock::hand_on(uint32_t state) {
  if (state == kWritersWait) {
    if (state_.compare_exchange_strong(state, 0, std::memory_order_relaxed)) {
      wake_writer();
      return;
    }
  }
  if (state == (kReadersWait | kWritersWait)) {
    // The writers' bit is cleared here and set again by the writer that wakes, if it must.
    if (!state_.compare_exchange_strong(state, kReadersWait, std::memory_order_relaxed)) return;
    if (wake_writer()) return;
    // No writer slept yet; it will see its bit gone and try again. The readers must not be forgotten.
    state = kReadersWait;
  }
  if (state == kReadersWait && state_.compare_exchange_strong(state, 0, std::memory_order_relaxed))
    futex_wake(&state_, kFutexWakeAll);
}

bool RwLock::wake_writer() {
  writer_signal_.fetch_add(1, std::memory_order_release);
  return futex_wake(&writer_signal_, 1) > 0;
}

}  // namespace causeway::sync
