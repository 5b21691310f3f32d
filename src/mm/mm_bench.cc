// What the allocator costs: single pages, large blocks, slab objects, and boots of any size of RAM.
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "mm/page_allocator.h"
#include "mm/slab.h"
#include "platform/direct_map.h"

namespace causeway::mm {
namespace {

// 1 GiB of RAM above 4 GiB, shared by the threads of a benchmark.
struct Ram {
  Ram() : fd(::memfd_create("bench ram", MFD_CLOEXEC)), direct_map(*platform::DirectMap::create(GiB(8))) {
    if (::ftruncate(fd.get(), static_cast<off_t>(GiB(1))) != 0) std::abort();
    if (!direct_map.map(kDma32Limit, GiB(1), fd.get(), 0)) std::abort();
    BootMemory boot;
    (void)boot.add({kDma32Limit, GiB(1)});
    map = std::make_unique<MemMap>(*MemMap::create(direct_map));
    allocator = *PageAllocator::create(*map);
    allocator->take_over(boot);
    slab = std::make_unique<Slab>(*allocator);
  }
  UniqueFd fd;
  platform::DirectMap direct_map;
  std::unique_ptr<MemMap> map;
  std::unique_ptr<PageAllocator> allocator;
  std::unique_ptr<Slab> slab;
};

Ram& ram() {
  static Ram instance;
  return instance;
}

void BM_AllocFree(benchmark::State& state) {
  PageAllocator& allocator = *ram().allocator;
  Order order(static_cast<unsigned>(state.range(0)));
  for (auto _ : state) {
    Page* page = *allocator.alloc_pages(order, kGfpKernel);
    allocator.free_pages(page, order);
  }
}
BENCHMARK(BM_AllocFree)->Arg(0)->Arg(3)->Arg(9)->Arg(10);
BENCHMARK(BM_AllocFree)->Arg(0)->Arg(9)->Threads(2)->UseRealTime();

// More pages than a per-CPU list holds, so that every batch goes through the zone. Time per page.
void BM_AllocFreeMany(benchmark::State& state) {
  PageAllocator& allocator = *ram().allocator;
  std::vector<Page*> pages(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    for (Page*& page : pages) page = *allocator.alloc_pages(kOrder0, kGfpKernel);
    for (Page* page : pages) allocator.free_pages(page, kOrder0);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_AllocFreeMany)->Arg(1000)->Arg(100'000);
BENCHMARK(BM_AllocFreeMany)->Arg(1000)->Threads(2)->UseRealTime();

void BM_Contig(benchmark::State& state) {
  PageAllocator& allocator = *ram().allocator;
  auto pages = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    auto page = allocator.alloc_contig(pages, 512, kGfpKernel);
    if (!page) return state.SkipWithError("no contiguous memory");
    allocator.free_contig(*page, pages);
  }
}
BENCHMARK(BM_Contig)->Arg(512)->Arg(32768)->Arg(131072)->Unit(benchmark::kMicrosecond);

void BM_Kmalloc(benchmark::State& state) {
  Slab& slab = *ram().slab;
  for (auto _ : state) slab.kfree(*slab.kmalloc(static_cast<uint64_t>(state.range(0)), kGfpKernel));
}
BENCHMARK(BM_Kmalloc)->Arg(64)->Arg(4096)->Arg(65536);
BENCHMARK(BM_Kmalloc)->Arg(64)->Threads(2)->UseRealTime();

// From the list of ranges to the first page. Arguments: MiB of RAM, reserved single-page holes.
void BM_Boot(benchmark::State& state) {
  uint64_t size = MiB(static_cast<uint64_t>(state.range(0)));
  auto holes = static_cast<uint64_t>(state.range(1));
  auto direct_map = *platform::DirectMap::create(GiB(4) + size);
  std::vector<MemRange> reserved;
  uint64_t step = holes == 0 ? 0 : align_down(size / 2 / (holes + 1), kPageSize);
  for (uint64_t i = 1; i <= holes; ++i) reserved.push_back({kDma32Limit + i * step, kPageSize});
  for (auto _ : state) {
    BootMemory boot;
    (void)boot.add({PhysAddr(0), size / 2});
    (void)boot.add({kDma32Limit, size / 2});
    (void)boot.reserve_all(reserved, Reservation::kNoInit);
    MemMap map = *MemMap::create(direct_map);
    auto allocator = *PageAllocator::create(map);
    allocator->take_over(boot);
    benchmark::DoNotOptimize(*allocator->alloc_pages(kOrder0, kGfpKernel));
  }
}
BENCHMARK(BM_Boot)
    ->Args({256, 0})
    ->Args({4096, 0})
    ->Args({65536, 0})
    ->Args({1 << 20, 0})
    ->Args({65536, 10})
    ->Args({65536, 1000})
    ->Args({65536, 100'000})
    ->Args({1 << 20, 200'000})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace causeway::mm
