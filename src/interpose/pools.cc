#include "interpose/pools.h"

#include <atomic>
#include <bit>

#include "dept/context.h"
#include "interpose/here.h"

namespace causeway::interpose::pools {

using namespace causeway::dept;

namespace {

struct Pool {
  ObjectId object;
  unsigned most_held;
  uint64_t threads;  // a bit for each number modulo 64: too few rather than too many
};
constexpr unsigned kPools = 64;
constinit Pool pools[kPools];

std::atomic_flag busy = ATOMIC_FLAG_INIT;

}  // namespace

void wants_more(ThreadContext* self, ObjectId object, unsigned held, Site site) {
  // Whoever is here at the same time, or is interrupted here, will be again.
  if (busy.test_and_set(std::memory_order_acquire)) return;
  Pool& pool = pools[index_of(object) % kPools];
  if (pool.object != object) pool = {object, 0, 0};
  if (held > pool.most_held) pool.most_held = held;
  pool.threads |= uint64_t{1} << (index_of(self->thread) % 64);
  const bool enough = static_cast<unsigned>(std::popcount(pool.threads)) * pool.most_held >=
                      Tracker::get().arena().at<Object>(object).value.load(std::memory_order_relaxed);
  const bool several = std::popcount(pool.threads) > 1;
  busy.clear(std::memory_order_release);
  if (!enough || !several) return;
  Tracker::get().graph().report(Problem::kRelock, Misuse::kNone, Level::kPossible, self->thread, object, stack_at(site), StackId::kNone);
}

}  // namespace causeway::interpose::pools
