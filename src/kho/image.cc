#include "kho/image.h"

#include <fmt/format.h>
#include <libfdt.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"
#include "kho/image_tree.h"

namespace causeway::kho {
namespace {

// Every refusal names what was seen where; the Error carries the rule.
template <typename... Args>
tl::unexpected<Error> refuse(const char* rule, fmt::format_string<Args...> format, Args&&... args) {
  log::warn("kho", "image refused: {}: {}", rule, fmt::format(format, std::forward<Args>(args)...));
  return fail(EINVAL, rule);
}

// The 8 bytes of a property; payloads are host-endian and only 4-byte aligned.
std::optional<uint64_t> get_u64(const void* fdt, int node, const char* name, int* length) {
  const void* payload = fdt_getprop(fdt, node, name, length);
  uint64_t value = 0;
  if (payload == nullptr || *length != static_cast<int>(sizeof value)) return std::nullopt;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

bool overlaps(PhysAddr a, uint64_t a_size, PhysAddr b, uint64_t b_size) {
  return a.value() < b.value() + b_size && b.value() < a.value() + a_size;
}

}  // namespace

Result<Image> Image::read(const PhysReader& memory, const platform::Handover& handover) {
  Image image;
  CW_TRY(image.read_fdt(memory, handover));
  CW_TRY(image.read_scratch(memory, handover));
  CW_TRY(image.read_tree(memory));
  CW_TRY(image.check_overlaps());
  return image;
}

Status Image::read_fdt(const PhysReader& memory, const platform::Handover& handover) {
  fdt_ = handover.fdt_addr;
  if (!fdt_.is_aligned(kPageSize) || fdt_ == PhysAddr(0))
    return refuse("fdt: not page aligned, or at 0", "address {}", fdt_);
  if (handover.fdt_size < sizeof(fdt_header) || handover.fdt_size > kPageSize)
    return refuse("fdt: size outside one page", "{} bytes at {}, want {}..{}", handover.fdt_size, fdt_,
                  sizeof(fdt_header), kPageSize);
  const std::byte* source = memory.at(fdt_, handover.fdt_size);
  if (source == nullptr || !memory.is_ram(fdt_, kPageSize)) return refuse("fdt: not RAM", "address {}", fdt_);

  // libfdt walks a private copy: bounded, aligned, and not changing under it.
  fdt_bytes_.assign(source, source + handover.fdt_size);
  const void* fdt = fdt_bytes_.data();
  if (const int error = fdt_check_full(fdt, fdt_bytes_.size()); error != 0)
    return refuse("fdt: damaged", "at {}: {}", fdt_, fdt_strerror(error));
  constexpr uint32_t kOldestVersion = 16;  // nodes carried whole paths before
  if (fdt_version(fdt) < kOldestVersion)
    return refuse("fdt: version", "{} at {}, want {} or later", fdt_version(fdt), fdt_, kOldestVersion);
  fdt_bytes_.resize(fdt_totalsize(fdt));
  fdt = fdt_bytes_.data();

  int length = 0;
  const auto* compatible = static_cast<const char*>(fdt_getprop(fdt, 0, abi::kPropCompatible, &length));
  const std::string_view found(compatible == nullptr ? "" : compatible,
                               compatible == nullptr ? 0 : static_cast<size_t>(length));
  if (found == std::string_view(abi::kCompatible, sizeof abi::kCompatible)) {
    format_ = Format::kV4;
  } else if (found == std::string_view(abi::kTypedCompatible, sizeof abi::kTypedCompatible)) {
    format_ = Format::kTyped;
  } else {
    (void)refuse("fdt: unknown compatible", "\"{}\", want \"{}\" or \"{}\"",
                 found.substr(0, found.find('\0')), abi::kCompatible, abi::kTypedCompatible);
    return fail(EPROTO, "fdt: unknown compatible");
  }

  const auto root = get_u64(fdt, 0, abi::kPropMemoryMap, &length);
  if (!root.has_value())
    return refuse("fdt: preserved-memory-map missing or not 8 bytes", "length {} in the fdt at {}", length,
                  fdt_);
  tree_root_ = PhysAddr(*root);
  if (*root == 0 || !tree_root_.is_aligned(kPageSize))
    return refuse("fdt: preserved-memory-map not page aligned, or 0", "value {} in the fdt at {}", tree_root_,
                  fdt_);

  int node;
  fdt_for_each_subnode(node, fdt, 0) {
    const char* name = fdt_get_name(fdt, node, &length);
    if (name == nullptr) continue;
    int ignored = 0;
    const auto phys = get_u64(fdt, node, abi::kPropSubtreePhys, &ignored);
    const auto size = get_u64(fdt, node, abi::kPropSubtreeSize, &ignored);
    if (phys.has_value() && size.has_value())
      subtrees_.push_back({std::string(name, static_cast<size_t>(length)), PhysAddr(*phys), *size});
  }
  return {};
}

Status Image::read_scratch(const PhysReader& memory, const platform::Handover& handover) {
  const PhysAddr array = handover.scratch_addr;
  const uint64_t bytes = handover.scratch_size;
  if (bytes == 0 || bytes % sizeof(abi::ScratchEntry) != 0 || bytes > kMaxScratch * sizeof(abi::ScratchEntry))
    return refuse("scratch: size of the array", "{} bytes at {}, want 1 to {} entries of {}", bytes, array,
                  kMaxScratch, sizeof(abi::ScratchEntry));
  const std::byte* source = memory.at(array, bytes);
  if (source == nullptr) return refuse("scratch: the array is not in RAM", "address {}", array);

  bool holds_array = false;
  for (uint64_t offset = 0; offset < bytes; offset += sizeof(abi::ScratchEntry)) {
    abi::ScratchEntry entry;
    std::memcpy(&entry, source + offset, sizeof entry);
    const mm::MemRange area{PhysAddr(entry.addr), entry.size};
    if (!area.base.is_aligned(kPageSize) || !is_aligned(area.size, kPageSize) || area.size == 0)
      return refuse("scratch: area not page aligned, or empty", "{} bytes at {}", area.size, area.base);
    if (!memory.is_ram(area.base, area.size))
      return refuse("scratch: area not in RAM", "{} bytes at {}", area.size, area.base);
    for (const mm::MemRange& other : scratch_) {
      if (overlaps(area.base, area.size, other.base, other.size))
        return refuse("scratch: areas overlap", "at {} and {}", other.base, area.base);
    }
    holds_array |=
        area.base <= array && bytes <= area.size && array.value() - area.base.value() <= area.size - bytes;
    scratch_.push_back(area);
  }
  if (!holds_array) return refuse("scratch: the array lies in none of the areas", "address {}", array);
  return {};
}

Status Image::read_tree(const PhysReader& memory) {
  TreeReader reader(memory, format_);
  if (Status read = reader.read(tree_root_); !read.has_value()) {
    log::warn("kho", "image refused: {}: {}", read.error().message, reader.reason());
    return read;
  }
  blocks_ = reader.take_blocks();
  nodes_ = reader.take_nodes();
  return {};
}

// Everything is sorted by now: O(blocks + nodes).
Status Image::check_overlaps() const {
  for (size_t i = 1; i < blocks_.size(); ++i) {
    if (blocks_[i - 1].range().end > blocks_[i].pfn)
      return refuse("tree: blocks overlap", "order {} at {} and order {} at {}", blocks_[i - 1].order,
                    blocks_[i - 1].pfn.address(), blocks_[i].order, blocks_[i].pfn.address());
  }
  auto block = blocks_.begin();
  for (PhysAddr node : nodes_) {
    const Pfn pfn = Pfn::containing(node);
    while (block != blocks_.end() && block->range().end <= pfn) ++block;
    if (block != blocks_.end() && block->range().contains(pfn))
      return refuse("tree: a block holds a node of the tree", "order {} at {}, node at {}", block->order,
                    block->pfn.address(), node);
  }
  if (std::binary_search(nodes_.begin(), nodes_.end(), fdt_))
    return refuse("fdt: it is a node of the tree", "address {}", fdt_);

  for (const mm::MemRange& area : scratch_) {
    const PfnRange frames{Pfn::containing(area.base), Pfn::containing(area.end())};
    auto first = std::partition_point(blocks_.begin(), blocks_.end(),
                                      [&](const Block& b) { return b.range().end <= frames.begin; });
    if (first != blocks_.end() && first->range().overlaps(frames))
      return refuse("tree: a block lies in scratch", "order {} at {}, scratch at {}", first->order,
                    first->pfn.address(), area.base);
    auto node = std::lower_bound(nodes_.begin(), nodes_.end(), area.base);
    if (node != nodes_.end() && *node < area.end())
      return refuse("tree: a node lies in scratch", "node at {}, scratch at {}", *node, area.base);
    if (overlaps(fdt_, kPageSize, area.base, area.size))
      return refuse("fdt: it lies in scratch", "address {}, scratch at {}", fdt_, area.base);
  }
  return {};
}

Result<Subtree> Image::subtree(std::string_view name) const {
  const void* fdt = fdt_bytes_.data();
  const int node = fdt_subnode_offset_namelen(fdt, 0, name.data(), static_cast<int>(name.size()));
  if (node < 0) return fail(ENOENT, "the handover has no such subtree");
  int length = 0;
  const auto phys = get_u64(fdt, node, abi::kPropSubtreePhys, &length);
  if (!phys.has_value()) return fail(EINVAL, "subtree: preserved-data missing or not 8 bytes");
  const auto size = get_u64(fdt, node, abi::kPropSubtreeSize, &length);
  if (!size.has_value()) return fail(EINVAL, "subtree: blob-size missing or not 8 bytes");
  if (!is_preserved(PhysAddr(*phys), *size)) {
    log::warn("kho", "subtree {}: {} bytes at {:#x} are not wholly preserved memory", name, *size, *phys);
    return fail(EINVAL, "subtree: its blob is not preserved memory");
  }
  return Subtree{std::string(name), PhysAddr(*phys), *size};
}

const Block* Image::block_at(Pfn pfn) const {
  auto block = std::partition_point(blocks_.begin(), blocks_.end(),
                                    [&](const Block& b) { return b.range().end <= pfn; });
  return block != blocks_.end() && block->pfn <= pfn ? &*block : nullptr;
}

bool Image::is_preserved(PhysAddr phys, uint64_t size) const {
  uint64_t end = 0;
  if (size == 0 || !checked_add(phys.value(), size, &end)) return false;
  const Pfn last = Pfn((end - 1) >> kPageShift);
  for (Pfn pfn = Pfn::containing(phys); pfn <= last;) {
    const Block* block = block_at(pfn);
    if (block == nullptr) return false;
    pfn = block->range().end;
  }
  return true;
}

}  // namespace causeway::kho
