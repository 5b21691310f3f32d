// A coherent allocation together with the token under which the next kernel finds it.
//
//   PreservedBuffer ring;
//   ring.memory = CW_TRY(dma::alloc_coherent(device, size, mm::kGfpKernel));
//   CW_TRY(ring.preserve(device));
//   handover->ring = ring.token_value();
#pragma once

#include <utility>

#include "base/result.h"
#include "dma/dma.h"

namespace causeway::drivers {

struct PreservedBuffer {
  dma::Coherent memory;
  dma::Token token = dma::Token::kNone;

  static Result<PreservedBuffer> allocate(dma::Device& device, uint64_t size) {
    return PreservedBuffer{CW_TRY(dma::alloc_attrs(device, size, mm::kGfpKernel, attrs(device))), dma::Token::kNone};
  }
  // From the predecessor's token; not yet preserved for the successor. ENOENT: it left none.
  static Result<PreservedBuffer> restore(dma::Device& device, uint64_t size, uint64_t token) {
    if (token == 0) return fail(ENOENT, "the predecessor did not preserve an allocation the device uses");
    return PreservedBuffer{
        CW_TRY(dma::restore_allocation(device, size, mm::kGfpKernel, attrs(device), dma::Token{token})),
        dma::Token::kNone};
  }
  Status preserve(dma::Device& device) {
    token = CW_TRY(dma::preserve_allocation(device, memory, attrs(device)));
    return {};
  }
  // Unpreserved if need be, then freed. Only for memory no device uses any more.
  Status release(dma::Device& device) {
    if (memory.cpu == nullptr) return {};
    if (token != dma::Token::kNone) CW_TRY(dma::unpreserve_allocation(device, token));
    token = dma::Token::kNone;
    return dma::free_attrs(device, std::exchange(memory, {}), attrs(device));
  }
  uint64_t token_value() const { return static_cast<uint64_t>(token); }
  // Behind an IOMMU memory comes in pieces unless asked otherwise, and only one block can be handed over.
  static dma::Attr attrs(const dma::Device& device) {
    return device.iommu() != nullptr ? dma::Attr::kForceContiguous : dma::Attr::kNone;
  }
};

}  // namespace causeway::drivers
