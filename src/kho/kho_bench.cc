// Cost of preserving and restoring a page, contiguous and scattered, and of the walk at boot. Every
// benchmark reports pages (or blocks, for the boot) per second as items.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <random>

#include "base/log.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

constexpr uint64_t kRunPages = GiB(1) / kPageSize;

// Processor time of this thread, where all the work is done: what else the machine does is not counted.
double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds_of(const auto& work) {
  const double start = thread_seconds();
  work();
  return thread_seconds() - start;
}

std::vector<mm::MemRange> ram() {
  return {{PhysAddr(0), MiB(64)}, {PhysAddr(GiB(4)), GiB(3)}};
}

// A generation that owns 1 GiB of contiguous memory.
struct Rig {
  Rig() {
    log::set_level(log::Level::kError);
    now = std::make_unique<Generation>(machine);
    run = *now->allocator->alloc_contig(kRunPages, kRunPages, mm::kGfpKernel);
  }
  // Every other page of the run, in random order: no two are neighbours.
  std::vector<mm::Page*> scattered(uint64_t count) const {
    std::vector<mm::Page*> pages;
    for (uint64_t i = 0; i < kRunPages; i += 2) pages.push_back(run + i);
    std::shuffle(pages.begin(), pages.end(), std::mt19937_64(1));
    pages.resize(count);
    return pages;
  }
  std::vector<Block> blocks_of(const std::vector<mm::Page*>& pages) const {
    std::vector<Block> blocks;
    for (mm::Page* page : pages) blocks.push_back({now->map.pfn(page), kOrder0});
    return blocks;
  }
  void kexec() {
    now->commit();
    now.reset();
    now = std::make_unique<Generation>(machine);
    require(now->adopted_handover, "the handover is accepted");
  }

  TestMachine machine{ram()};
  std::unique_ptr<Generation> now;
  mm::Page* run = nullptr;
};

void set_items(benchmark::State& state, uint64_t per_iteration) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * per_iteration));
}

void PreserveContiguousRun(benchmark::State& state) {
  Rig rig;
  // One page short of the GiB at each end: 34 blocks of all orders instead of one.
  for (auto _ : state) {
    state.SetIterationTime(
        seconds_of([&] { (void)rig.now->kho->preserve_pages(rig.run + 1, kRunPages - 2); }));
    rig.now->kho->unpreserve_pages(rig.run + 1, kRunPages - 2);
  }
  set_items(state, kRunPages - 2);
}
BENCHMARK(PreserveContiguousRun)->UseManualTime();

void PreserveContiguousOrder10(benchmark::State& state) {
  Rig rig;
  std::vector<Block> blocks;
  for (uint64_t i = 0; i < kRunPages; i += 1024) blocks.push_back({rig.now->map.pfn(rig.run + i), Order(10)});
  for (auto _ : state) {
    state.SetIterationTime(seconds_of([&] { (void)rig.now->kho->preserve_blocks(blocks); }));
    for (const Block& block : blocks)
      rig.now->kho->unpreserve_page(rig.now->map.page(block.pfn), block.order);
  }
  set_items(state, kRunPages);
}
BENCHMARK(PreserveContiguousOrder10)->UseManualTime();

void PreserveScatteredSingleCalls(benchmark::State& state) {
  Rig rig;
  const auto pages = rig.scattered(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) {
    state.SetIterationTime(seconds_of([&] {
      for (mm::Page* page : pages) (void)rig.now->kho->preserve_page(page, kOrder0);
    }));
    for (mm::Page* page : pages) rig.now->kho->unpreserve_page(page, kOrder0);
  }
  set_items(state, pages.size());
}
BENCHMARK(PreserveScatteredSingleCalls)->Arg(1000)->Arg(100000)->UseManualTime();

void PreserveScatteredBatched(benchmark::State& state) {
  Rig rig;
  const auto pages = rig.scattered(static_cast<uint64_t>(state.range(0)));
  const auto blocks = rig.blocks_of(pages);
  for (auto _ : state) {
    state.SetIterationTime(seconds_of([&] { (void)rig.now->kho->preserve_blocks(blocks); }));
    for (mm::Page* page : pages) rig.now->kho->unpreserve_page(page, kOrder0);
  }
  set_items(state, pages.size());
}
BENCHMARK(PreserveScatteredBatched)->Arg(1000)->Arg(100000)->UseManualTime();

void RestoreContiguous(benchmark::State& state) {
  const bool unsplit = state.range(0) != 0;
  for (auto _ : state) {
    Rig rig;
    const PhysAddr phys = rig.now->map.phys(rig.run);
    for (uint64_t i = 0; i < kRunPages; i += 1024) (void)rig.now->kho->preserve_page(rig.run + i, Order(10));
    rig.kexec();
    state.SetIterationTime(seconds_of([&] {
      if (!unsplit) {
        require(rig.now->kho->restore_pages(phys, kRunPages) != nullptr, "restore");
      } else {
        for (uint64_t i = 0; i < kRunPages; i += 1024) (void)rig.now->kho->restore_page(phys + i * kPageSize);
      }
    }));
  }
  state.SetLabel(unsplit ? "unsplit blocks of order 10" : "split: every page counted");
  set_items(state, kRunPages);
}
BENCHMARK(RestoreContiguous)->Arg(0)->Arg(1)->UseManualTime()->Iterations(20);

void RestoreScattered(benchmark::State& state) {
  for (auto _ : state) {
    Rig rig;
    const auto pages = rig.scattered(static_cast<uint64_t>(state.range(0)));
    std::vector<PhysAddr> addresses;
    for (mm::Page* page : pages) addresses.push_back(rig.now->map.phys(page));
    require(rig.now->kho->preserve_blocks(rig.blocks_of(pages)).has_value(), "preserve");
    rig.kexec();
    state.SetIterationTime(seconds_of([&] {
      for (PhysAddr phys : addresses) (void)rig.now->kho->restore_page(phys);
    }));
  }
  set_items(state, static_cast<uint64_t>(state.range(0)));
}
BENCHMARK(RestoreScattered)->Arg(100000)->UseManualTime()->Iterations(20);

// early_init(): read and check the image, reserve, stamp. Items are blocks.
void BootWalk(benchmark::State& state) {
  Rig rig;
  const auto pages = rig.scattered(static_cast<uint64_t>(state.range(0)));
  require(rig.now->kho->preserve_blocks(rig.blocks_of(pages)).has_value(), "preserve");
  rig.now->commit();
  rig.now.reset();
  for (auto _ : state) {
    mm::BootMemory boot;
    for (const mm::MemRange& range : ram()) (void)boot.add(range);
    mm::MemMap map = *mm::MemMap::create(rig.machine.direct_map());
    auto kho = *Kho::create(map, test_params());
    const auto handover = rig.machine.mailbox().current();
    bool accepted = false;
    state.SetIterationTime(seconds_of([&] { accepted = *kho->early_init(boot, handover); }));
    require(accepted, "the handover is accepted");
  }
  set_items(state, static_cast<uint64_t>(state.range(0)));
}
BENCHMARK(BootWalk)->RangeMultiplier(10)->Range(10, 100000)->UseManualTime();

// The same without the struct pages, which are touched for the first time: the reader alone.
void ReadImage(benchmark::State& state) {
  Rig rig;
  const auto pages = rig.scattered(static_cast<uint64_t>(state.range(0)));
  require(rig.now->kho->preserve_blocks(rig.blocks_of(pages)).has_value(), "preserve");
  rig.now->commit();
  class Memory : public PhysReader {
   public:
    Memory(const platform::DirectMap& map, const mm::BootMemory& boot) : map_(map), boot_(boot) {}
    const std::byte* at(PhysAddr address, uint64_t size) const override {
      return boot_.is_memory(address, size) ? map_.to_virt(address) : nullptr;
    }

   private:
    const platform::DirectMap& map_;
    const mm::BootMemory& boot_;
  } memory(rig.machine.direct_map(), rig.now->boot);
  const auto handover = *rig.machine.mailbox().current();
  for (auto _ : state) benchmark::DoNotOptimize(Image::read(memory, handover));
  set_items(state, static_cast<uint64_t>(state.range(0)));
}
BENCHMARK(ReadImage)->RangeMultiplier(10)->Range(10, 100000);

}  // namespace
}  // namespace causeway::kho
