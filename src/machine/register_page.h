// The page a kernel reads registers from. The device's own copies of its registers are elsewhere; this
// is a mirror, so that a kernel that scribbles on it fools only itself.
//
//   RegisterPage page(bus.bar(bar_base), queue_base(1));
//   page.set32(kCompTail, tail);   // release: whoever sees it sees what the device wrote before
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::machine {

class RegisterPage {
 public:
  explicit RegisterPage(std::byte* page, uint32_t base = 0) : page_(page + base) {}

  RegisterPage block(uint32_t offset) const { return RegisterPage(page_, offset); }
  void set32(uint32_t offset, uint32_t value) const {
    ref<uint32_t>(offset).store(value, std::memory_order_release);
  }
  void set64(uint32_t offset, uint64_t value) const {
    ref<uint64_t>(offset).store(value, std::memory_order_release);
  }
  void add32(uint32_t offset, uint32_t more) const { ref<uint32_t>(offset).fetch_add(more); }
  void set_bits(uint32_t offset, uint32_t bits) const { ref<uint32_t>(offset).fetch_or(bits); }
  void clear_bits(uint32_t offset, uint32_t bits) const { ref<uint32_t>(offset).fetch_and(~bits); }
  uint32_t get32(uint32_t offset) const { return ref<uint32_t>(offset).load(std::memory_order_acquire); }
  uint64_t get64(uint32_t offset) const { return ref<uint64_t>(offset).load(std::memory_order_acquire); }

 private:
  template <typename T>
  std::atomic_ref<T> ref(uint32_t offset) const {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(page_ + offset));
  }
  std::byte* page_;
};

// A number the device counts and the kernel reads: kept here, mirrored there. One thread writes it.
template <typename T>
class Counter {
 public:
  Counter(RegisterPage page, uint32_t offset) : page_(page), offset_(offset) {}
  T get() const { return value_.load(std::memory_order_relaxed); }
  void set(T value) {
    value_.store(value, std::memory_order_relaxed);
    if constexpr (sizeof(T) == 8) {
      page_.set64(offset_, value);
    } else {
      page_.set32(offset_, value);
    }
  }
  void add(T more) { set(get() + more); }
  void raise_to(T value) {
    if (value > get()) set(value);
  }

 private:
  std::atomic<T> value_{0};
  RegisterPage page_;
  uint32_t offset_;
};

}  // namespace causeway::machine
