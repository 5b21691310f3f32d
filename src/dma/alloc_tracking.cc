#include "dma/alloc_tracking.h"

#include "dma/debug/debug.h"
#include "dma/debug/init_tracker.h"

namespace causeway::dma {

void track_alloc(Dma::State& state, const Device& device, const Allocation& block) {
  if (!state.debug || block.route == Route::kDeviceMemory) return;
  state.debug->alloc_coherent(device, block.cpu, block.phys, block.size, block.handle, block.attrs);
}

void track_free(Dma::State& state, const Device& device, const Coherent& freed, Attr attrs,
                const Result<Allocation>& taken) {
  if (!state.debug) return;
  if (taken && taken->route == Route::kDeviceMemory) return;
  if (!taken && taken.error().code == Errno{EBUSY}) return;
  state.debug->free_coherent(device, freed.cpu, freed.size, freed.handle, attrs);
}

void poison(Dma::State& state, const Allocation& block) {
  if (!state.debug) return;
  if (InitTracker* tracker = state.debug->init_tracker())
    tracker->poison(block.phys, pages_for(block.size) << kPageShift);
}

}  // namespace causeway::dma
