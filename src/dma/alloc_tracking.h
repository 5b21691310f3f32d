// What dma-debug is told of allocations. Private to the room.
//
//   state.allocations.insert(block);
//   track_alloc(state, device, block);
//
// Nothing without Config::debug. A device's own memory is not tracked, neither when it is allocated nor when it is freed.
#pragma once

#include "dma/allocations.h"
#include "dma/dma.h"
#include "dma/state.h"

namespace causeway::dma {

// A new coherent allocation, or a restored one.
void track_alloc(Dma::State& state, const Device& device, const Allocation& block);
// A driver's free, and what the table said to it: one of what is preserved leaves the allocation as it is.
void track_free(Dma::State& state, const Device& device, const Coherent& freed, Attr attrs,
                const Result<Allocation>& taken);
// Memory that is handed out with whatever was in it.
void poison(Dma::State& state, const Allocation& block);

}  // namespace causeway::dma
