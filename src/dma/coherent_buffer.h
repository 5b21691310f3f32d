// A coherent allocation that frees itself.
//
//   auto ring = CW_TRY(CoherentBuffer::create(device, KiB(20), kGfpKernel));
//   program(ring.handle());
//   ring.as<Descriptor>()[0] = {...};
//
//   auto again = CoherentBuffer::adopt(device, CW_TRY(restore_allocation(...)), attrs);   // restored memory too
//   Coherent forever = ring.release();                                                    // not freed any more
//
// The device outlives the buffer. One that is preserved stays where it is: the free is refused and logged.
#pragma once

#include <utility>

#include "dma/dma.h"

namespace causeway::dma {

class CoherentBuffer {
 public:
  CoherentBuffer() = default;
  // Errors of alloc_attrs().
  static Result<CoherentBuffer> create(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs = Attr::kNone) {
    return CoherentBuffer(device, CW_TRY(alloc_attrs(device, size, gfp, attrs)), attrs);
  }
  static CoherentBuffer adopt(Device& device, const Coherent& memory, Attr attrs = Attr::kNone) {
    return CoherentBuffer(device, memory, attrs);
  }
  ~CoherentBuffer() { reset(); }
  CoherentBuffer(CoherentBuffer&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)),
        memory_(std::exchange(other.memory_, {})),
        attrs_(other.attrs_) {}
  CoherentBuffer& operator=(CoherentBuffer&& other) noexcept {
    if (this == &other) return *this;
    reset();
    device_ = std::exchange(other.device_, nullptr);
    memory_ = std::exchange(other.memory_, {});
    attrs_ = other.attrs_;
    return *this;
  }

  explicit operator bool() const { return device_ != nullptr; }
  void* cpu() const { return memory_.cpu; }
  DmaAddr handle() const { return memory_.handle; }
  uint64_t size() const { return memory_.size; }
  Attr attrs() const { return attrs_; }
  const Coherent& memory() const { return memory_; }
  template <typename T>
  T* as() const {
    return memory_.as<T>();
  }

  // Frees now. A preserved buffer cannot be: nobody owns it any more then but its record.
  void reset() {
    if (device_ != nullptr) (void)free_attrs(*device_, memory_, attrs_);
    device_ = nullptr;
    memory_ = {};
  }
  [[nodiscard]] Coherent release() {
    device_ = nullptr;
    return std::exchange(memory_, {});
  }

 private:
  CoherentBuffer(Device& device, const Coherent& memory, Attr attrs)
      : device_(&device), memory_(memory), attrs_(attrs) {}

  Device* device_ = nullptr;
  Coherent memory_;
  Attr attrs_ = Attr::kNone;
};

}  // namespace causeway::dma
