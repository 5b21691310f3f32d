#include "platform/mmio.h"

#include <poll.h>

#include <atomic>
#include <mutex>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "hw/bus.h"
#include "hw/futex.h"
#include "hw/shared_words.h"

namespace causeway::platform {
namespace {

constexpr uint64_t kAllOnes = ~uint64_t{0};
constexpr int kSpins = 2000;
constexpr uint64_t kSleepNs = 50'000'000;
// How long the machine may make no progress before it counts as gone.
constexpr uint64_t kPatienceNs = 5'000'000'000;
constexpr uint64_t kAliveCheckNs = 50'000'000;

constexpr uint64_t all_ones(uint32_t width) {
  return width >= 8 ? kAllOnes : (uint64_t{1} << (8 * width)) - 1;
}

template <typename T>
uint64_t load(std::byte* at) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(at)).load(std::memory_order_acquire);
}

}  // namespace

struct Mmio::State {
  State(std::byte* bus_memory, int control_socket)
      : bus(bus_memory),
        ring(*reinterpret_cast<hw::RequestRing*>(bus_memory + hw::kRequestRing)),
        control(control_socket),
        tail(ring.tail.load(std::memory_order_acquire)) {
    // A kernel that died asleep never took itself off.
    ring.kernel_sleeps.store(0, std::memory_order_relaxed);
  }

  std::byte* const bus;
  hw::RequestRing& ring;
  const int control;
  // One producer at a time. Part of the bus, not of the kernel: code that may not sleep writes registers
  // too, so this is no lock that the kernel's own lock rules know.
  std::mutex mutex;
  std::atomic<uint32_t> tail;  // what this kernel has posted; written under the mutex
  std::atomic<bool> gone{false};
  std::atomic<uint64_t> next_alive_check{0};  // CLOCK_MONOTONIC ns

  // Where a plain load of `width` bytes goes; null: no registers there.
  std::byte* locate(PhysAddr address, uint32_t width) const {
    auto inside = [&](PhysAddr base, uint64_t size) {
      return address >= base && address - base < size && width <= size - (address - base);
    };
    if (!is_aligned(address.value(), width)) return nullptr;
    if (inside(hw::kEcamBase, hw::kEcamSize)) return bus + hw::kEcam + (address - hw::kEcamBase);
    if (inside(hw::kBarBase, hw::kBarWindowSize)) return bus + hw::kBarWindow + (address - hw::kBarBase);
    if (inside(hw::kIommuBase, hw::kIommuWindowSize)) return bus + hw::kIommuWindow + (address - hw::kIommuBase);
    return nullptr;
  }

  void declare_gone(const char* why) {
    if (!gone.exchange(true)) log::error("platform", "the machine is gone: {}", why);
  }

  bool socket_closed() const {
    if (control < 0) return false;
    pollfd polled{control, POLLRDHUP, 0};
    return ::poll(&polled, 1, 0) == 1 && (polled.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0;
  }

  // Registers of a machine that has died still hold their last values: look now and then.
  bool is_alive() {
    if (gone.load(std::memory_order_relaxed)) return false;
    uint64_t now = monotonic_ns();
    if (now < next_alive_check.load(std::memory_order_relaxed)) return true;
    next_alive_check.store(now + kAliveCheckNs, std::memory_order_relaxed);
    if (socket_closed()) declare_gone("its control socket is closed");
    return !gone.load(std::memory_order_relaxed);
  }

  // Until the machine has applied everything before index `target`. False: the machine is gone.
  bool wait_for_head(uint32_t target) {
    auto passed = [&](uint32_t head) { return static_cast<int32_t>(head - target) >= 0; };
    uint32_t head = 0;
    for (int i = 0; i < kSpins; ++i) {
      head = ring.head.load(std::memory_order_acquire);
      if (passed(head)) return true;
      hw::cpu_relax();
    }
    uint64_t last_progress = monotonic_ns();
    while (!gone.load(std::memory_order_relaxed)) {
      ring.kernel_sleeps.fetch_add(1, std::memory_order_seq_cst);
      uint32_t seen = ring.head.load(std::memory_order_seq_cst);
      if (!passed(seen)) hw::futex_wait(ring.head, seen, kSleepNs);
      ring.kernel_sleeps.fetch_sub(1, std::memory_order_relaxed);
      uint32_t now_at = ring.head.load(std::memory_order_acquire);
      if (passed(now_at)) return true;
      uint64_t now = monotonic_ns();
      if (now_at != head) {
        head = now_at;
        last_progress = now;
      } else if (socket_closed()) {
        declare_gone("its control socket is closed");
      } else if (now - last_progress > kPatienceNs) {
        declare_gone("it has not answered for five seconds");
      }
    }
    return false;
  }

  // Appends an entry. The mutex is held. False: the machine is gone.
  bool post_locked(const hw::Request& request) {
    if (gone.load(std::memory_order_relaxed)) return false;
    uint32_t index = tail.load(std::memory_order_relaxed);
    if (index - ring.head.load(std::memory_order_acquire) >= hw::kRequestSlots &&
        !wait_for_head(index - hw::kRequestSlots + 1))
      return false;
    hw::store_words(&ring.slot[index % hw::kRequestSlots], request);
    CW_POINT("platform.mmio.before_tail");
    ring.tail.store(index + 1, std::memory_order_seq_cst);
    tail.store(index + 1, std::memory_order_release);
    CW_POINT("platform.mmio.before_wake");
    if (ring.machine_sleeps.load(std::memory_order_seq_cst) != 0) hw::futex_wake(ring.tail);
    return true;
  }
};

Mmio::Mmio(std::byte* bus, int control) : state_(std::make_unique<State>(bus, control)) {}
Mmio::~Mmio() = default;

MmioWindow Mmio::window(PhysAddr base, uint64_t size) {
  return MmioWindow(this, base, size);
}

void Mmio::write(PhysAddr address, uint64_t value, uint32_t width) {
  std::lock_guard lock(state_->mutex);
  state_->post_locked({address.value(), value, hw::RequestOp::kWrite, width, 0});
}

uint64_t Mmio::read_with_effect(PhysAddr address, uint32_t width) {
  std::lock_guard lock(state_->mutex);
  if (!state_->post_locked({address.value(), 0, hw::RequestOp::kRead, width, 0})) return all_ones(width);
  // The mutex keeps this the newest read, so the result is ours.
  if (!state_->wait_for_head(state_->tail.load(std::memory_order_relaxed))) return all_ones(width);
  return state_->ring.read_result.load(std::memory_order_relaxed) & all_ones(width);
}

uint64_t Mmio::read(PhysAddr address, uint32_t width) {
  flush();
  std::byte* at = state_->locate(address, width);
  if (at == nullptr || !state_->is_alive()) return all_ones(width);
  switch (width) {
    case 1:
      return load<uint8_t>(at);
    case 2:
      return load<uint16_t>(at);
    case 4:
      return load<uint32_t>(at);
    case 8:
      return load<uint64_t>(at);
    default:
      return kAllOnes;
  }
}

uint32_t Mmio::peek32(PhysAddr address) const {
  std::byte* at = state_->locate(address, 4);
  return at == nullptr ? ~uint32_t{0} : static_cast<uint32_t>(load<uint32_t>(at));
}

void Mmio::flush() {
  state_->wait_for_head(state_->tail.load(std::memory_order_acquire));
}

bool Mmio::machine_is_gone() const {
  return state_->gone.load(std::memory_order_relaxed);
}

void MmioWindow::write(uint32_t offset, uint64_t value, uint32_t width) {
  if (offset < size_) mmio_->write(base_ + offset, value, width);
}

uint64_t MmioWindow::read(uint32_t offset, uint32_t width) const {
  return offset < size_ ? mmio_->read(base_ + offset, width) : kAllOnes;
}

uint32_t MmioWindow::read32_with_effect(uint32_t offset) const {
  return offset < size_ ? static_cast<uint32_t>(mmio_->read_with_effect(base_ + offset, 4)) : ~uint32_t{0};
}

uint32_t MmioWindow::peek32(uint32_t offset) const {
  return offset < size_ ? mmio_->peek32(base_ + offset) : ~uint32_t{0};
}

}  // namespace causeway::platform
