// Strong integers for the numbers of a memory system, so that a bus address can never be used where
// a physical one is meant. Explicit in, explicit out, only the operators that mean something.
//
//   PhysAddr base{0x100000};
//   Pfn pfn = Pfn::containing(base);           // 0x100
//   PhysAddr end = base + 2 * kPageSize;       // address + bytes = address
//   uint64_t bytes = end - base;               // address - address = bytes
//   Order order = Order::covering(20 * 1024);  // 3: the block that holds 20 KiB, get_order()
//
// Arithmetic wraps never: it is checked in debug builds (an overflow is a bug of the caller). Values
// that come from outside (an image, a device, a program) are checked with checked_add() first.
#pragma once

#include <fmt/core.h>

#include <bit>
#include <cassert>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace causeway {

inline constexpr unsigned kPageShift = 12;
inline constexpr uint64_t kPageSize = uint64_t{1} << kPageShift;
inline constexpr uint64_t kPageMask = ~(kPageSize - 1);

constexpr uint64_t KiB(uint64_t n) { return n << 10; }
constexpr uint64_t MiB(uint64_t n) { return n << 20; }
constexpr uint64_t GiB(uint64_t n) { return n << 30; }

constexpr bool is_power_of_two(uint64_t value) { return std::has_single_bit(value); }
// `alignment` is a power of two.
constexpr uint64_t align_down(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
constexpr bool is_aligned(uint64_t value, uint64_t alignment) { return (value & (alignment - 1)) == 0; }
constexpr uint64_t pages_for(uint64_t bytes) { return (bytes >> kPageShift) + ((bytes & ~kPageMask) != 0); }

// False if a + b does not fit; the sum is in *sum only when it does.
[[nodiscard]] constexpr bool checked_add(uint64_t a, uint64_t b, uint64_t* sum) {
  return !__builtin_add_overflow(a, b, sum);
}

// An address in one address space, counted in bytes. Tag gives the space.
template <typename Tag>
class Address {
 public:
  constexpr Address() = default;
  constexpr explicit Address(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }

  constexpr auto operator<=>(const Address&) const = default;
  constexpr Address operator+(uint64_t bytes) const {
    assert(value_ + bytes >= value_);
    return Address(value_ + bytes);
  }
  constexpr Address operator-(uint64_t bytes) const {
    assert(bytes <= value_);
    return Address(value_ - bytes);
  }
  constexpr uint64_t operator-(Address other) const {
    assert(other.value_ <= value_);
    return value_ - other.value_;
  }
  constexpr Address& operator+=(uint64_t bytes) { return *this = *this + bytes; }

  constexpr bool is_aligned(uint64_t alignment) const { return causeway::is_aligned(value_, alignment); }
  constexpr Address aligned_down(uint64_t alignment) const { return Address(align_down(value_, alignment)); }
  constexpr Address aligned_up(uint64_t alignment) const { return Address(align_up(value_, alignment)); }
  constexpr uint64_t page_offset() const { return value_ & ~kPageMask; }

 private:
  uint64_t value_ = 0;
};

using PhysAddr = Address<struct PhysAddrTag>;  // the machine's physical address space
using DmaAddr = Address<struct DmaAddrTag>;    // what a device puts on its bus
using Iova = Address<struct IovaTag>;          // input of an IOMMU
using UserAddr = Address<struct UserAddrTag>;  // a client program's virtual address

// All-ones: what a mapping call returns on failure (DMA_MAPPING_ERROR).
inline constexpr DmaAddr kDmaMappingError{~uint64_t{0}};

// log2 of a number of pages.
class Order {
 public:
  constexpr Order() = default;
  constexpr explicit Order(unsigned value) : value_(static_cast<uint8_t>(value)) {}
  // The smallest order whose block holds `bytes` (get_order). `bytes` > 0.
  static constexpr Order covering(uint64_t bytes) {
    assert(bytes > 0);
    return Order(static_cast<unsigned>(std::bit_width((bytes - 1) >> kPageShift)));
  }
  constexpr unsigned value() const { return value_; }
  constexpr uint64_t pages() const { return uint64_t{1} << value_; }
  constexpr uint64_t bytes() const { return kPageSize << value_; }
  constexpr auto operator<=>(const Order&) const = default;

 private:
  uint8_t value_ = 0;
};
inline constexpr Order kOrder0{0};

// Page frame number: a physical address in pages.
class Pfn {
 public:
  constexpr Pfn() = default;
  constexpr explicit Pfn(uint64_t value) : value_(value) {}
  static constexpr Pfn containing(PhysAddr address) { return Pfn(address.value() >> kPageShift); }
  constexpr uint64_t value() const { return value_; }
  constexpr PhysAddr address() const { return PhysAddr(value_ << kPageShift); }
  constexpr bool is_aligned(Order order) const { return causeway::is_aligned(value_, order.pages()); }

  constexpr auto operator<=>(const Pfn&) const = default;
  constexpr Pfn operator+(uint64_t pages) const { return Pfn(value_ + pages); }
  constexpr Pfn operator-(uint64_t pages) const { return Pfn(value_ - pages); }
  constexpr uint64_t operator-(Pfn other) const { return value_ - other.value_; }
  constexpr Pfn& operator+=(uint64_t pages) { return *this = *this + pages; }
  constexpr Pfn& operator++() { return *this = *this + 1; }

 private:
  uint64_t value_ = 0;
};

// [begin, end) of page frames.
struct PfnRange {
  Pfn begin;
  Pfn end;
  constexpr uint64_t pages() const { return end - begin; }
  constexpr uint64_t bytes() const { return pages() << kPageShift; }
  constexpr bool empty() const { return begin >= end; }
  constexpr bool contains(Pfn pfn) const { return begin <= pfn && pfn < end; }
  constexpr bool overlaps(PfnRange other) const { return begin < other.end && other.begin < end; }
  constexpr bool operator==(const PfnRange&) const = default;
};

// PCI bus, device, function; also the requester id of a DMA.
class Bdf {
 public:
  constexpr Bdf() = default;
  constexpr explicit Bdf(uint16_t value) : value_(value) {}
  constexpr Bdf(unsigned bus, unsigned device, unsigned function)
      : value_(static_cast<uint16_t>(bus << 8 | device << 3 | function)) {}
  constexpr uint16_t value() const { return value_; }
  constexpr unsigned bus() const { return value_ >> 8; }
  constexpr unsigned device() const { return value_ >> 3 & 0x1f; }
  constexpr unsigned function() const { return value_ & 7; }
  constexpr auto operator<=>(const Bdf&) const = default;

 private:
  uint16_t value_ = 0;
};

// An IOMMU's name for an address space.
enum class DomainId : uint16_t {};

namespace detail {
// fmt::format_to() without <fmt/format.h>: clang and the fmt library of a GCC-built distribution
// disagree on the symbol that <fmt/core.h> alone would leave to the linker.
template <typename Context, typename... Args>
auto write_to(Context& context, fmt::format_string<Args...> format, Args&&... args) {
  auto out = context.out();
  for (char c : fmt::format(format, std::forward<Args>(args)...)) *out++ = c;
  return out;
}
}  // namespace detail

}  // namespace causeway

template <typename Tag>
struct fmt::formatter<causeway::Address<Tag>> : fmt::formatter<uint64_t> {
  template <typename Context>
  auto format(causeway::Address<Tag> address, Context& context) const {
    return causeway::detail::write_to(context, "{:#x}", address.value());
  }
};
template <>
struct fmt::formatter<causeway::Pfn> : fmt::formatter<uint64_t> {
  template <typename Context>
  auto format(causeway::Pfn pfn, Context& context) const {
    return causeway::detail::write_to(context, "pfn {:#x}", pfn.value());
  }
};
template <>
struct fmt::formatter<causeway::Order> : fmt::formatter<unsigned> {
  template <typename Context>
  auto format(causeway::Order order, Context& context) const {
    return causeway::detail::write_to(context, "{}", order.value());
  }
};
template <>
struct fmt::formatter<causeway::Bdf> : fmt::formatter<unsigned> {
  template <typename Context>
  auto format(causeway::Bdf bdf, Context& context) const {
    return causeway::detail::write_to(context, "{:02x}:{:02x}.{}", bdf.bus(), bdf.device(), bdf.function());
  }
};
template <typename Tag>
struct std::hash<causeway::Address<Tag>> {
  size_t operator()(causeway::Address<Tag> address) const { return std::hash<uint64_t>{}(address.value()); }
};
template <>
struct std::hash<causeway::Pfn> {
  size_t operator()(causeway::Pfn pfn) const { return std::hash<uint64_t>{}(pfn.value()); }
};
template <>
struct std::hash<causeway::Bdf> {
  size_t operator()(causeway::Bdf bdf) const { return bdf.value(); }
};
