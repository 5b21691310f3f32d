// The incoming side of a boot: from a handover in the mailbox to reserved and stamped memory.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "kho/kho_state.h"
#include "kho/stamp.h"

namespace causeway::kho {
namespace {

// RAM as boot memory knows it, through the direct map. What is a client's can be named, but is not read.
class LiveMemory : public PhysReader {
 public:
  LiveMemory(const mm::BootMemory& boot, const platform::DirectMap& map) : boot_(boot), map_(map) {
    for (const mm::MemRange& range : boot.client()) client_.add({range.base.value(), range.end().value()});
  }
  const std::byte* at(PhysAddr address, uint64_t size) const override {
    if (!is_ram(address, size) || client_.overlaps({address.value(), address.value() + size})) return nullptr;
    return map_.to_virt(address);
  }
  bool is_ram(PhysAddr address, uint64_t size) const override {
    uint64_t end = 0;
    return size > 0 && checked_add(address.value(), size, &end) && end <= map_.limit() &&
           boot_.is_memory(address, size);
  }

 private:
  const mm::BootMemory& boot_;
  const platform::DirectMap& map_;
  mm::RangeSet client_;
};

mm::MemRange range_of(PfnRange frames) {
  return {frames.begin.address(), frames.bytes()};
}

PfnRange frames_of(PhysAddr base, uint64_t size) {
  return {Pfn::containing(base), Pfn::containing(base + (size - 1)) + 1};
}

// Neighbours become one range: what is preserved often lies together.
void append(std::vector<mm::MemRange>& ranges, mm::MemRange range) {
  if (!ranges.empty() && ranges.back().end() == range.base) {
    ranges.back().size += range.size;
  } else {
    ranges.push_back(range);
  }
}

// What this boot has already taken must not be part of the handover: one of the two would be overwritten.
Status check_untaken(const Image& image, PfnRange incoming_array, const mm::BootMemory& boot) {
  auto taken = boot.reserved(mm::Reservation::kNormal);
  // Client memory is reserved from the start, and may be handed over all the same.
  mm::RangeSet no_init;
  for (const mm::MemRange& range : boot.reserved(mm::Reservation::kNoInit))
    no_init.add({range.base.value(), range.end().value()});
  for (const mm::MemRange& range : boot.client()) no_init.remove({range.base.value(), range.end().value()});
  for (const mm::RangeSet::Range& range : no_init.ranges())
    taken.push_back({PhysAddr(range.begin), range.end - range.begin});
  for (const mm::MemRange& range : taken) {
    const PfnRange frames = frames_of(range.base, range.size);
    auto block = std::partition_point(image.blocks().begin(), image.blocks().end(),
                                      [&](const Block& b) { return b.range().end <= frames.begin; });
    auto node = std::lower_bound(image.nodes().begin(), image.nodes().end(), frames.begin.address());
    const bool conflict = (block != image.blocks().end() && block->range().overlaps(frames)) ||
                          (node != image.nodes().end() && *node < frames.end.address()) ||
                          frames.contains(Pfn::containing(image.fdt())) || frames.overlaps(incoming_array);
    if (conflict) {
      log::warn("kho", "image refused: memory at {}, {} bytes, is taken by this boot already", range.base,
                range.size);
      return fail(EINVAL, "the handover holds memory that this boot has taken");
    }
  }
  return {};
}

}  // namespace

Result<bool> Kho::early_init(mm::BootMemory& boot, const std::optional<platform::Handover>& handover) {
  State& s = *state_;
  mm::RangeSet boot_ram;
  for (const mm::MemRange& range : boot.memory()) boot_ram.add({range.base.value(), range.end().value()});
  for (const mm::MemRange& range : boot.client()) {
    boot_ram.remove({range.base.value(), range.end().value()});
    s.client.push_back({Pfn::containing(range.base), Pfn::containing(range.end())});
  }
  for (const mm::RangeSet::Range& range : boot_ram.ranges())
    s.ram.push_back({PhysAddr(range.begin), range.end - range.begin});
  if (handover.has_value()) {
    Status adopted = s.adopt(boot, *handover);
    if (adopted.has_value()) {
      s.read_metadata();
      log::info("kho", "incoming handover of generation {}: {} blocks, {} pages, {} tree nodes",
                handover->generation, s.incoming->blocks().size(), s.incoming_pages,
                s.incoming->nodes().size());
      return true;
    }
    log::warn("kho", "disabling KHO revival, an ordinary boot: {}", to_string(adopted.error()));
  }
  if (!s.enabled) return false;
  auto areas = reserve_scratch(boot, s.params.scratch);
  if (!areas.has_value()) {
    log::warn("kho", "KHO is off for this boot: {}", to_string(areas.error()));
    s.enabled = false;
    return false;
  }
  s.scratch = std::move(*areas);
  s.outgoing_array = s.scratch.front().base;
  s.scratch_taken = {frames_of(s.outgoing_array, kPageSize)};
  CW_POINT("kho.boot.after_scratch");
  return false;
}

// The handover itself lies in boot RAM, and so does scratch; and a block has one owner.
Status Kho::State::check_client_memory(const Image& image, PfnRange array) const {
  for (const mm::MemRange& area : image.scratch()) {
    if (!in_client(frames_of(area.base, area.size))) continue;
    log::warn("kho", "image refused: scratch at {}, {} bytes, lies in client memory", area.base, area.size);
    return fail(EINVAL, "scratch lies in client memory");
  }
  if (in_client(array)) return fail(EINVAL, "the scratch array lies in client memory");
  for (const PfnRange& range : client) {
    for (Pfn border : {range.begin, range.end}) {
      const Block* block = image.block_at(border);
      if (block == nullptr || block->pfn == border) continue;
      log::warn("kho", "image refused: order {} at {} goes over the border of client memory at {}", block->order,
                block->pfn.address(), border.address());
      return fail(EINVAL, "a block lies partly in client memory");
    }
  }
  return {};
}

// Nothing of `boot` changes before everything has been checked.
Status Kho::State::adopt(mm::BootMemory& boot, const platform::Handover& handover) {
  CW_FAIL_POINT("kho.boot.before_read");
  const LiveMemory memory(boot, map.direct_map());
  Image image = CW_TRY(Image::read(memory, handover));
  const PfnRange array = frames_of(handover.scratch_addr, handover.scratch_size);
  CW_TRY(check_client_memory(image, array));
  CW_TRY(check_untaken(image, array, boot));
  CW_POINT("kho.boot.after_walk");

  // Until everything is reserved, what this boot allocates comes from scratch.
  struct Restriction {
    Restriction(mm::BootMemory& memory, const std::vector<mm::MemRange>& to) : boot_memory(memory) {
      boot_memory.restrict_to(to);
    }
    ~Restriction() { boot_memory.lift_restriction(); }
    mm::BootMemory& boot_memory;
  } restriction(boot, image.scratch());

  CW_TRY(boot.reserve(range_of(array)));
  if (enabled) outgoing_array = CW_TRY(boot.allocate(kPageSize, kPageSize));

  std::vector<mm::MemRange> preserved, nodes_of_tree;
  for (const Block& block : image.blocks()) append(preserved, range_of(block.range()));
  for (PhysAddr node : image.nodes()) append(nodes_of_tree, {node, kPageSize});
  if (image.block_at(Pfn::containing(image.fdt())) == nullptr)
    nodes_of_tree.push_back({image.fdt(), kPageSize});
  CW_TRY(boot.reserve_all(preserved, mm::Reservation::kNoInit));
  CW_TRY(boot.reserve_all(nodes_of_tree, mm::Reservation::kNormal));

  // Scratch goes to the allocator as CMA, by init(); so it is kept from it as ordinary memory. What boot
  // allocations hold of it stays theirs.
  if (enabled) {
    for (const mm::MemRange& taken : boot.reserved(mm::Reservation::kNormal)) {
      for (const mm::MemRange& area : image.scratch()) {
        const PfnRange a = frames_of(taken.base, taken.size), b = frames_of(area.base, area.size);
        const PfnRange both{std::max(a.begin, b.begin), std::min(a.end, b.end)};
        if (!both.empty()) scratch_taken.push_back(both);
      }
    }
    for (const mm::MemRange& area : image.scratch()) CW_TRY(boot.reserve(area));
  }
  CW_POINT("kho.boot.after_reserve");

  for (const Block& block : image.blocks()) {
    if (!in_client(block.range())) write_stamp(*map.page(block.pfn), block);
    incoming_pages += block.order.pages();
  }
  if (!client.empty()) claimed = std::make_unique<std::atomic<uint8_t>[]>(image.blocks().size());
  CW_POINT("kho.boot.after_stamp");

  scratch = image.scratch();
  incoming_array = array;
  incoming.emplace(std::move(image));
  sync::MutexLock lock(deferred_mutex);
  holding = true;
  return {};
}

// Bad metadata is ignored: it only informs.
void Kho::State::read_metadata() {
  auto found = find_subtree(abi::kMetadataSubtree);
  if (!found.has_value()) {
    if (found.error().code != Errno{ENOENT})
      log::warn("kho", "kexec-metadata ignored: {}", to_string(found.error()));
    return;
  }
  incoming_metadata = found->phys.aligned_down(kPageSize);
  abi::KexecMetadata metadata{};
  const std::byte* source = map.direct_map().to_virt(found->phys);
  std::memcpy(&metadata, source, std::min<uint64_t>(found->size, sizeof metadata));
  if (found->size < sizeof metadata.version || metadata.version != abi::kMetadataVersion ||
      found->size < sizeof metadata) {
    log::warn("kho", "kexec-metadata ignored: version {} in {} bytes, want {} in {}",
              uint32_t{metadata.version}, found->size, abi::kMetadataVersion, sizeof metadata);
    return;
  }
  kexec_count = metadata.kexec_count;
  previous_release.assign(metadata.previous_release,
                          strnlen(metadata.previous_release, sizeof metadata.previous_release));
}

}  // namespace causeway::kho
