#include "sync/spin_lock.h"

#include <benchmark/benchmark.h>

#include "sync/mutex.h"
#include "sync/rw_lock.h"

namespace causeway::sync {
namespace {

void SpinLockUncontended(benchmark::State& state) {
  SpinLock lock("bench.spin");
  for (auto _ : state) {
    lock.lock();
    lock.unlock();
  }
}
BENCHMARK(SpinLockUncontended);

void MutexUncontended(benchmark::State& state) {
  Mutex mutex("bench.mutex");
  for (auto _ : state) {
    mutex.lock();
    mutex.unlock();
  }
}
BENCHMARK(MutexUncontended);

void RwLockReadUncontended(benchmark::State& state) {
  RwLock lock("bench.rw");
  for (auto _ : state) {
    lock.lock_shared();
    lock.unlock_shared();
  }
}
BENCHMARK(RwLockReadUncontended);

SpinLock g_shared_lock{"bench.shared"};
void SpinLockContended(benchmark::State& state) {
  for (auto _ : state) {
    SpinLockGuard guard(g_shared_lock);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(SpinLockContended)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace causeway::sync
