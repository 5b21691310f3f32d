#include "dma/swiotlb/growth.h"

#include <algorithm>
#include <stop_token>
#include <utility>

#include "base/log.h"
#include "base/point.h"

namespace causeway::dma {

using sync::MutexLock;

struct Growth::Node {
  std::unique_ptr<BouncePool> pool;
  uint64_t requester = 0;  // the device a transient pool belongs to
  std::atomic<Node*> next{nullptr};
};

uint64_t bus_slot(const Device& device, PhysAddr begin) {
  std::optional<DmaAddr> bus = device.to_dma(begin);
  return (bus ? bus->value() : begin.value()) >> kSlotShift;
}

unsigned current_cpu() {
  int cpu = ::sched_getcpu();
  return cpu < 0 ? 0 : static_cast<unsigned>(cpu);
}

Growth::Growth(Maker maker)
    : maker_(std::move(maker)), worker_("dma.swiotlb", [this](const sync::StopToken& stop) { serve(stop); }) {}

Growth::~Growth() {
  worker_ = sync::Thread();
  for (std::atomic<Node*>* list : {&shared_, &transient_})
    for (Node* node = list->load(); node != nullptr;) delete std::exchange(node, node->next.load());
}

BouncePool* Growth::find(const Device& device, PhysAddr phys) const {
  for (Node* node = shared_.load(); node != nullptr; node = node->next.load())
    if (node->pool->contains(phys)) return node->pool.get();
  if (transient_.load() == nullptr) return nullptr;
  Grace::Section inside(grace_);
  for (Node* node = transient_.load(); node != nullptr; node = node->next.load())
    if (node->requester == device.requester() && node->pool->contains(phys)) return node->pool.get();
  return nullptr;
}

Result<PhysAddr> Growth::take(const Device& device, const SlotRequest& request, const BounceMapping& mapping) {
  unsigned cpu = current_cpu();
  for (Node* node = shared_.load(); node != nullptr; node = node->next.load()) {
    BouncePool& pool = *node->pool;
    if (auto bounce = pool.take(request, mapping, bus_slot(device, pool.begin()), cpu)) return *bounce;
  }
  {
    MutexLock lock(mutex_);
    if (!frozen_) {
      grow_ = true;
      work_.notify_one();
    }
  }
  // The block is aligned to whatever the masks ask for; the low bits that have to match may cost slots at its front.
  const uint64_t ahead = (request.match & request.match_mask) >> kSlotShift;
  const uint64_t alignment = uint64_t{request.stride} << kSlotShift;
  if (ahead + request.slots > kSlotsPerSet) return fail(ENOMEM, "the alignment leaves no room in a slot set");
  auto made = std::make_unique<Node>();
  made->pool = CW_TRY(maker_.transient(device, static_cast<uint32_t>(ahead + request.slots), alignment));
  made->requester = device.requester();
  auto bounce = made->pool->take(request, mapping, bus_slot(device, made->pool->begin()), 0);
  if (!bounce) {
    maker_.free_transient(*made->pool);
    return fail(ENOMEM, "no transient pool within the device's segment boundary");
  }
  transient_slots_.fetch_add(made->pool->slots(), std::memory_order_relaxed);
  CW_POINT("dma.swiotlb.transient_ready");
  MutexLock lock(mutex_);
  Node* node = made.release();
  node->next.store(transient_.load());
  transient_.store(node);
  return *bounce;
}

void Growth::retire(const BouncePool& pool) {
  MutexLock lock(mutex_);
  std::atomic<Node*>* link = &transient_;
  for (Node* node = link->load(); node != nullptr; link = &node->next, node = link->load()) {
    if (node->pool.get() != &pool) continue;
    // The node keeps its own link: a reader that stands on it goes on from there.
    link->store(node->next.load());
    transient_slots_.fetch_sub(pool.slots(), std::memory_order_relaxed);
    retired_.emplace_back(node);
    work_.notify_one();
    return;
  }
}

void Growth::freeze() {
  MutexLock lock(mutex_);
  frozen_ = true;
  grow_ = false;
  while (busy_) idle_.wait(mutex_);
}

void Growth::settle() {
  MutexLock lock(mutex_);
  while (grow_ || busy_ || !retired_.empty()) idle_.wait(mutex_);
}

void Growth::serve(const sync::StopToken& stop) {
  std::stop_callback wake(stop, [this] {
    MutexLock lock(mutex_);
    work_.notify_all();
  });
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    if (!grow_ && retired_.empty()) {
      work_.wait(mutex_);
      continue;
    }
    std::vector<std::unique_ptr<Node>> retired = std::exchange(retired_, {});
    bool grow = std::exchange(grow_, false);
    busy_ = true;
    lock.unlock();
    if (grow) add_shared();
    if (!retired.empty()) {
      CW_POINT("dma.swiotlb.before_grace");
      grace_.wait();
      for (const auto& node : retired) maker_.free_transient(*node->pool);
      retired.clear();
    }
    lock.lock();
    busy_ = false;
    idle_.notify_all();
  }
}

void Growth::add_shared() {
  auto made = std::make_unique<Node>();
  Result<std::unique_ptr<BouncePool>> pool = maker_.shared();
  if (!pool) {
    log::warn("dma", "no further bounce pool: {}", pool.error().message);
    return;
  }
  made->pool = std::move(*pool);
  log::info("dma", "another bounce pool of {} slots at {}", made->pool->slots(), made->pool->begin());
  made->next.store(shared_.load());
  shared_.store(made.release());
}

Growth::Stats Growth::stats() const {
  Stats stats;
  for (Node* node = shared_.load(); node != nullptr; node = node->next.load()) {
    stats.slots += node->pool->slots();
    stats.used += node->pool->used();
    ++stats.pools;
  }
  stats.transient_slots = transient_slots_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace causeway::dma
