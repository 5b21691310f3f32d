// The mistakes of LiveUpdateFaults, each in place of the right step: negative controls. Private to the room.
//
//   CW_TRY(faults.short_preserve ? faults::preserve_short(...) : kho.preserve_page(page, order));
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "kho/kho.h"

namespace causeway::dma::faults {

// The posted code counts `size >> 12` pages: none of 64 bytes, five of an eight-page block of 20 KiB.
inline uint64_t short_count(uint64_t size) {
  return size >> kPageShift;
}

inline Status preserve_short(kho::Kho& kho, mm::Page* page, uint64_t size) {
  return short_count(size) == 0 ? Status{} : kho.preserve_pages(page, short_count(size));
}
inline void unpreserve_short(kho::Kho& kho, mm::Page* page, uint64_t size) {
  if (short_count(size) != 0) kho.unpreserve_pages(page, short_count(size));
}
inline mm::Page* restore_short(kho::Kho& kho, PhysAddr phys, uint64_t size) {
  return short_count(size) == 0 ? kho.map().page(phys) : kho.restore_pages(phys, short_count(size));
}
// Every page of an unsplit block counted by itself.
inline mm::Page* restore_split(kho::Kho& kho, PhysAddr phys, Order order) {
  return kho.restore_pages(phys, order.pages());
}

}  // namespace causeway::dma::faults
