// Switch, outgoing side, commit, and what Kho says about itself.
#include "kho/kho.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/log.h"
#include "base/point.h"
#include "kho/abi/typed_v1.h"
#include "kho/kho_state.h"

namespace causeway::kho {
namespace {

// `whole` without the `taken` parts.
std::vector<PfnRange> subtract(PfnRange whole, std::vector<PfnRange> taken) {
  std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<PfnRange> rest;
  for (const PfnRange& part : taken) {
    if (!part.overlaps(whole)) continue;
    if (whole.begin < part.begin) rest.push_back({whole.begin, part.begin});
    whole.begin = std::max(whole.begin, std::min(part.end, whole.end));
  }
  if (!whole.empty()) rest.push_back(whole);
  return rest;
}

PfnRange intersection(PfnRange a, PfnRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

PfnRange whole_pageblocks(const mm::MemRange& area) {
  constexpr uint64_t kBlock = mm::kPageblockOrder.bytes();
  return {Pfn::containing(area.base.aligned_up(kBlock)), Pfn::containing(area.end().aligned_down(kBlock))};
}

}  // namespace

Kho::Kho(std::unique_ptr<State> state) : state_(std::move(state)) {}
Kho::~Kho() = default;

Result<std::unique_ptr<Kho>> Kho::create(mm::MemMap& map, const KhoParams& params) {
  return std::unique_ptr<Kho>(new Kho(std::make_unique<State>(map, params)));
}

Status Kho::init(mm::PageAllocator& allocator, mm::Vmalloc& vmalloc) {
  State& s = *state_;
  s.allocator = &allocator;
  s.vmalloc = &vmalloc;
  if (!s.enabled) return {};
  Status built = s.build_outgoing();
  if (!built.has_value()) {
    s.free_scratch();
  } else {
    built = s.release_scratch();
  }
  if (!built.has_value()) {
    log::warn("kho", "KHO is off for this boot: {}", to_string(built.error()));
    s.enabled = false;
    if (s.outgoing != nullptr) s.outgoing->destroy();
    s.outgoing.reset();
    sync::MutexLock lock(s.fdt_mutex);
    if (s.fdt_page != PhysAddr(0)) allocator.free_pages(s.map.page(s.fdt_page), kOrder0);
    s.fdt_page = PhysAddr(0);
    return built;
  }
  CW_POINT("kho.init.after_scratch");
  return {};
}

Status Kho::State::build_outgoing() {
  nodes = std::make_unique<PageNodes>(*allocator);
  outgoing = CW_TRY(Outgoing::create(
      *nodes, {.format = params.format,
               .end_pfn = map.end_pfn(),
               .ram = ram,
               .scratch = scratch,
               .is_hot_added = [allocator = allocator](Pfn pfn) { return allocator->is_managed(pfn); },
               .verbose = params.debug}));
  CW_POINT("kho.init.after_tree");

  sync::MutexLock lock(fdt_mutex);
  mm::Page* page = CW_TRY(allocator->alloc_pages(kOrder0, mm::kGfpKernel | mm::kGfpZero));
  auto fill = [&]() CW_NO_THREAD_SAFETY_ANALYSIS -> Status {
    CW_TRY(outgoing->add(page_block(map.phys(page))));
    fdt = CW_TRY(RootFdt::create(params.format == Format::kTyped ? abi::kTypedCompatible : abi::kCompatible,
                                 outgoing->root()));
    return {};
  };
  if (Status filled = fill(); !filled.has_value()) {
    allocator->free_pages(page, kOrder0);
    return filled;
  }
  fdt_page = map.phys(page);
  write_fdt(fdt_page, *fdt);
  CW_POINT("kho.init.after_fdt");
  lock.unlock();
  return add_metadata();
}

// The subtree `kexec-metadata`: which kernel this is, and how many hops it is from the cold boot.
Status Kho::State::add_metadata() {
  auto page = allocator->alloc_pages(kOrder0, mm::kGfpKernel | mm::kGfpZero);
  if (!page.has_value()) return fail(page.error());
  auto* metadata = new (map.address(*page)) abi::KexecMetadata{};
  metadata->version = abi::kMetadataVersion;
  params.release.copy(metadata->previous_release, sizeof metadata->previous_release - 1);
  metadata->kexec_count = kexec_count + 1;
  auto add = [&]() -> Status {
    CW_TRY(outgoing->add(page_block(map.phys(*page))));
    sync::MutexLock lock(fdt_mutex);
    RootFdt next = *fdt;
    CW_TRY(next.add_subtree(abi::kMetadataSubtree, map.phys(*page), sizeof *metadata));
    return switch_fdt(next);
  };
  if (Status added = add(); !added.has_value()) {
    outgoing->remove(page_block(map.phys(*page)));
    allocator->free_pages(*page, kOrder0);
    return added;
  }
  CW_POINT("kho.init.after_metadata");
  return {};
}

void Kho::State::free_scratch() {
  for (const mm::MemRange& area : scratch) {
    const PfnRange frames{Pfn::containing(area.base), Pfn::containing(area.end())};
    for (const PfnRange& rest : subtract(frames, scratch_taken))
      allocator->release_reserved(rest, mm::MigrateType::kMovable);
  }
}

// Scratch becomes CMA by whole pageblocks: a block that is only partly CMA would be handed out for
// anything, and what is in scratch cannot be preserved. So whole areas are released and what is taken of
// them is allocated back; nobody else runs yet. Ends of an area that are no whole block stay reserved.
Status Kho::State::release_scratch() {
  for (const mm::MemRange& area : scratch) {
    const PfnRange blocks = whole_pageblocks(area);
    if (blocks.empty()) continue;
    allocator->release_reserved(blocks, mm::MigrateType::kCma);
    for (const PfnRange& taken : scratch_taken) {
      if (const PfnRange part = intersection(taken, blocks); !part.empty())
        CW_TRY(allocator->alloc_contig_range(part));
    }
  }
  return {};
}

Status Kho::commit(platform::Mailbox& mailbox, hw::HandoverKind kind, uint32_t generation) {
  State& s = *state_;
  if (!s.active()) return fail(ENODEV, "KHO is off");
  {
    sync::MutexLock lock(s.fdt_mutex);
    CW_FAIL_POINT("kho.commit.before_array");
    // Nobody reads this page before the mailbox names it, and afterwards its content does not change.
    auto* entries = s.map.direct_map().to_virt<abi::ScratchEntry>(s.outgoing_array);
    for (size_t i = 0; i < s.scratch.size(); ++i) entries[i] = {s.scratch[i].base.value(), s.scratch[i].size};
    s.mailbox = &mailbox;
    s.published = {.scratch_addr = s.outgoing_array,
                   .scratch_size = s.scratch.size() * sizeof(abi::ScratchEntry),
                   .kind = kind,
                   .generation = generation,
                   .release = s.params.release};
    CW_POINT("kho.commit.before_publish");
    s.publish_fdt(s.fdt_page);
    CW_POINT("kho.commit.after_publish");
  }
  s.release_incoming();
  CW_POINT("kho.commit.after_release");
  return {};
}

// The old handover has been replaced: frees what was kept for it. Once.
void Kho::State::release_incoming() {
  std::vector<std::function<void()>> actions;
  {
    sync::MutexLock lock(deferred_mutex);
    if (!holding) return;
    holding = false;
    actions.swap(deferred);
  }
  PfnRange run{};
  for (PhysAddr node : incoming->nodes()) {
    const Pfn pfn = Pfn::containing(node);
    if (!run.empty() && run.end != pfn) {
      allocator->release_reserved(run, mm::MigrateType::kMovable);
      run = {};
    }
    run = run.empty() ? PfnRange{pfn, pfn + 1} : PfnRange{run.begin, pfn + 1};
  }
  if (!run.empty()) allocator->release_reserved(run, mm::MigrateType::kMovable);
  for (const mm::MemRange& area : scratch) {
    if (const PfnRange part = intersection(incoming_array, whole_pageblocks(area)); !part.empty())
      allocator->free_contig(map.page(part.begin), part.pages());
  }
  CW_POINT("kho.commit.in_release");
  for (auto& action : actions) action();
}

void Kho::after_commit(std::function<void()> action) {
  State& s = *state_;
  {
    sync::MutexLock lock(s.deferred_mutex);
    if (s.holding) {
      s.deferred.push_back(std::move(action));
      return;
    }
  }
  action();
}

Status Kho::State::require_active() {
  if (active()) [[likely]]
    return {};
  if (!warned_disabled.exchange(true)) log::warn("kho", "used while KHO is off, or before init()");
  return fail(EINVAL, "KHO is off");
}

bool Kho::is_enabled() const {
  return state_->enabled;
}
bool Kho::is_kho_boot() const {
  return state_->incoming.has_value();
}
Format Kho::incoming_format() const {
  return state_->incoming.has_value() ? state_->incoming->format() : Format::kV4;
}

bool Kho::scratch_overlap(PhysAddr phys, uint64_t size) const {
  return std::any_of(state_->scratch.begin(), state_->scratch.end(), [&](const mm::MemRange& area) {
    // Differences, because phys + size may wrap.
    return phys >= area.base ? phys - area.base < area.size : size > area.base - phys;
  });
}

std::vector<mm::MemRange> Kho::scratch() const {
  return state_->scratch;
}
mm::PageAllocator& Kho::allocator() {
  return *state_->allocator;
}
mm::MemMap& Kho::map() {
  return state_->map;
}

}  // namespace causeway::kho
